#!lua flags=no-writes
--[[
  Say which entries the logs of some partitions still have, of those that a process saw acknowledged.

  KEYS[1..]  two per partition: log  STREAM; trimmed  HASH

  ARGV[1..]  five per entry: number of its partition in KEYS, from 1; its id; its job; its event's
             id, '' = do not compare; its event's author, '' = look in the log alone

  Returns  {"found", one for each}   1 = it is there, or was trimmed; 0 = the server has lost it
]]
--- @include "check_key"
--- @include "precedes"
--- @include "root"
local outcome, trimmed_to, tags, told = { 'found' }, {}, {}, {}
local why = (#ARGV % 5 ~= 0 or #KEYS % 2 ~= 0) and 'ERR an argument is missing'
for i = 1, #KEYS, 2 do
  why = why or check_key(KEYS[i], 'stream', 'XRANGE') or check_key(KEYS[i + 1], 'hash', 'HGET')
  tags[(i + 1) / 2] = tag_of(KEYS[i])
end
if why then return redis.error_reply(why) end
for i, tag in ipairs(tags) do
  local to = redis.call('HGET', KEYS[2 * i], 'to')
  trimmed_to[tag] = is_entry_id(to or nil) and to or nil
end

-- Say whether the head of the job tells of the event at this place: it was written together with the log, so
-- the log has it, too. A head names many events at once, where the log would have to be read for each.
local function is_told(tag, id, job, event_id, author)
  local key, field = tag .. ':head:' .. job, 'ids:' .. author
  local kept = told[key .. field] or redis.pcall('HGET', key, field)
  told[key .. field] = type(kept) == 'string' and kept or ''
  local _, at = string.find(told[key .. field], '\n' .. event_id .. ' ', 1, true)
  return at and string.match(told[key .. field], '^%d+ (%S+)\n', at + 1) == id
end

local function is_there(number, id, job, event_id, author)
  local tag = tags[number]
  if author ~= '' and event_id ~= '' and is_told(tag, id, job, event_id, author) then return true end
  if trimmed_to[tag] and not precedes(trimmed_to[tag], id) then return true end
  local entry = redis.call('XRANGE', KEYS[2 * number - 1], id, id)[1]
  local fields = {}
  for i = 1, entry and #entry[2] or 0, 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return fields.j == job and (event_id == '' or string.find(fields.d or '', '"' .. event_id .. '"', 1, true) ~= nil)
end
for i = 1, #ARGV, 5 do
  local number = whole(ARGV[i])
  if not tags[number or 0] then return redis.error_reply('ERR that is no number of a partition') end
  outcome[#outcome + 1] = is_there(number, unpack(ARGV, i + 1, i + 4)) and 1 or 0
end
return outcome
