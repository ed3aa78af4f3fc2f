#!lua flags=allow-oom
--[[
  Delete the consumers of processes that have ended. One with pending entries stays: they would be
  lost with it.

  KEYS[1]  log  STREAM

  ARGV[1]  ms without a read after which a consumer is deleted
  ARGV[2]  consumer group

  Returns  {"deleted", count}
]]
--- @include "check_key"
local log, idle_limit_ms, group = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local why = check_key(log, 'stream', 'XINFO|CONSUMERS XGROUP|DELCONSUMER')
if why then return redis.error_reply(why) end
local outcome = { 'deleted', 0 }
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', log, group)) do
  local facts = {}
  for i = 1, #row, 2 do facts[row[i]] = row[i + 1] end
  if facts.pending == 0 and facts.idle > idle_limit_ms then
    redis.call('XGROUP', 'DELCONSUMER', log, group, facts.name)
    outcome[2] = outcome[2] + 1
  end
end
return outcome
