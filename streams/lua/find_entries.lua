#!lua flags=no-writes
--[[
  Say which entries the logs of some partitions still have, of those that a process saw acknowledged.

  KEYS[1..]  two per partition: log  STREAM; trimmed  HASH

  ARGV[1..]  four per entry: number of its partition in KEYS, from 1; its id; its job; its event's
             id, '' = do not compare

  Returns  {"found", one for each}   1 = it is there, or was trimmed; 0 = the server has lost it
]]
--- @include "check_key"
--- @include "precedes"
local outcome, trimmed_to = { 'found' }, {}
local why = (#ARGV % 4 ~= 0 or #KEYS % 2 ~= 0) and 'ERR an argument is missing'
for i = 1, #KEYS, 2 do
  why = why or check_key(KEYS[i], 'stream', 'XRANGE') or check_key(KEYS[i + 1], 'hash', 'HGET')
end
for i = 1, #ARGV, 4 do
  why = why or not KEYS[2 * (whole(ARGV[i]) or 0)] and 'ERR that is no number of a partition'
    or not is_entry_id(ARGV[i + 1]) and 'ERR that is no id of an entry'
end
if why then return redis.error_reply(why) end
for i = 1, #KEYS, 2 do trimmed_to[(i + 1) / 2] = redis.call('HGET', KEYS[i + 1], 'to') end
local function is_there(number, id, job, event_id)
  local to, log = trimmed_to[whole(number)], KEYS[2 * whole(number) - 1]
  if is_entry_id(to or nil) and not precedes(to, id) then return true end
  local entry = redis.call('XRANGE', log, id, id)[1]
  local fields = {}
  for i = 1, entry and #entry[2] or 0, 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return fields.j == job and (event_id == '' or string.find(fields.d or '', '"' .. event_id .. '"', 1, true) ~= nil)
end
for i = 1, #ARGV, 4 do outcome[#outcome + 1] = is_there(unpack(ARGV, i, i + 3)) and 1 or 0 end
return outcome
