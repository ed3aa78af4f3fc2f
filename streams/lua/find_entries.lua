#!lua flags=no-writes
--[[
  Say which entries the log still has, of those that a process saw acknowledged.

  KEYS[1]  log      STREAM
  KEYS[2]  trimmed  HASH

  ARGV[1..] three per entry: its id; its job; its event's id, '' = do not compare

  Returns  {"found", one for each}   1 = it is there, or was trimmed; 0 = the server has lost it
]]
--- @include "check_key"
--- @include "precedes"
local log, trimmed, outcome = KEYS[1], KEYS[2], { 'found' }
local why = check_key(log, 'stream', 'XRANGE') or check_key(trimmed, 'hash', 'HGET') or #ARGV % 3 ~= 0 and 'ERR an argument is missing'
for i = 1, #ARGV, 3 do why = why or not is_entry_id(ARGV[i]) and 'ERR that is no id of an entry' end
if why then return redis.error_reply(why) end
local to = redis.call('HGET', trimmed, 'to')
local function is_there(id, job, event_id)
  if is_entry_id(to) and not precedes(to, id) then return true end
  local entry = redis.call('XRANGE', log, id, id)[1]
  local fields = {}
  for i = 1, entry and #entry[2] or 0, 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return fields.j == job and (event_id == '' or string.find(fields.d or '', '"' .. event_id .. '"', 1, true) ~= nil)
end
for i = 1, #ARGV, 3 do outcome[#outcome + 1] = is_there(unpack(ARGV, i, i + 2)) and 1 or 0 end
return outcome
