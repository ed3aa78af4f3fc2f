#!lua
--[[
  Let every lease of a partition begin anew, as the server's clock was set. What was released keeps
  its idle time, which is beyond every limit.

  KEYS[1]  queues  SET of queue names
  ARGV[1]  hash tag of the partition, from which dispatch keys are named

  Returns  {"restarted", count}
]]
--- @include "check_key"
local queues, tag = KEYS[1], ARGV[1]
local why = check_key(queues, 'set', 'SMEMBERS') or check_key(tag .. ':dispatch:', 'stream', 'XPENDING XCLAIM')
if why then return redis.error_reply(why) end

local count = 0
local function restart(dispatch)
  local first, pending = '-', not check_key(dispatch, 'stream', 'XPENDING XCLAIM')
  while pending == true or pending and #pending == 1000 do
    pending = redis.pcall('XPENDING', dispatch, 'runners', first, '+', 1000)
    for _, item in ipairs(pending) do
      first = '(' .. item[1]
      if item[2] ~= 'released' then
        redis.call('XCLAIM', dispatch, 'runners', item[2], 0, item[1], 'IDLE', 0, 'JUSTID')
        count = count + 1
      end
    end
  end
end

for _, queue in ipairs(redis.call('SMEMBERS', queues)) do
  for priority in string.gmatch('high normal low', '%a+') do
    restart(tag .. ':dispatch:' .. queue .. ':' .. priority)
  end
end
return { 'restarted', count }
