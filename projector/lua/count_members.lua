#!lua flags=allow-oom
--[[
  Record that a process lives, and count those that share the partitions with it.

  KEYS[1]  projectors  ZSET, token of a process -> when it was last heard of, Unix ms

  ARGV[1]  token of the process
  ARGV[2]  ms after which a silent process is not counted

  Returns  {"counted", processes}   this one included
]]
--- @include "check_key"
--- @include "now_ms"
local members, silent_ms = KEYS[1], whole(ARGV[2])
local why = check_key(members, 'zset', 'ZADD ZREMRANGEBYSCORE ZCARD') or not silent_ms and 'ERR a number is not a whole one'
if why then return redis.error_reply(why) end
local time_ms = now_ms()
redis.call('ZADD', members, time_ms, ARGV[1])
redis.call('ZREMRANGEBYSCORE', members, '-inf', string.format('%d', time_ms - silent_ms))
-- What is ahead is from before the server's clock was set back.
redis.call('ZREMRANGEBYSCORE', members, string.format('%d', time_ms + silent_ms), '+inf')
return { 'counted', redis.call('ZCARD', members) }
