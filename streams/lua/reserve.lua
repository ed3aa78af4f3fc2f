#!lua
--[[
  Spread layout: say that jobs are about to be added to what has a limit, before anybody counts what
  is there. Who counts after that, and adds no more than the limit leaves beside what was reserved
  before it, keeps the limit, however many do so at once.
  KEYS[1..] reserved  ZSET of each limit: token by the Unix ms until which it counts
  ARGV[1]  token, which nobody else has
  ARGV[2]  ms that it counts, unless it is taken out before
  ARGV[3..] of each limit, how many jobs may be added

  Returns  {"reserved", before...}   of each limit, for how many jobs others have reserved it already
]]
--- @include "now_ms"
local token, kept_ms, time_ms = ARGV[1], whole(ARGV[2]), now_ms()
local why = not kept_ms and 'ERR a time is not a whole number'
for i = 1, #KEYS do
  local key = KEYS[i]
  why = why or refused('TYPE ZADD ZCARD ZREMRANGEBYSCORE PEXPIRE', key) or not whole(ARGV[i + 2]) and 'ERR a number is not a whole one'
end
if why then return redis.error_reply(why) end
local outcome = { 'reserved' }
for i = 1, #KEYS do
  local key = KEYS[i]
  if check_key(key, 'zset') then table.insert(outcome, 0) else -- Of another type: jobs go on.
    -- What runs out far ahead is from before the server's clock was set back.
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%d', time_ms))
    redis.call('ZREMRANGEBYSCORE', key, '(' .. string.format('%d', time_ms + kept_ms), '+inf')
    table.insert(outcome, redis.call('ZCARD', key))
    for number = 1, math.min(whole(ARGV[i + 2]), 1000) do
      redis.call('ZADD', key, string.format('%d', time_ms + kept_ms), token .. ' ' .. number)
    end
    redis.call('PEXPIRE', key, kept_ms)
  end
end
return outcome
