#!lua flags=no-writes
--[[
  Count the jobs of one queue and partition that stand before a place. Writes nothing.

  KEYS[1]  waiting  ZSET of all jobs of the queue by place
  ARGV[1]  place
  ARGV[2]  job id: of jobs at the same place, those with a lesser id stand before it

  Returns  {"ahead", count}
]]
--- @include "check_key"
local waiting, place, job = KEYS[1], ARGV[1], ARGV[2]
local why = check_key(waiting, 'zset', 'ZCOUNT ZRANGEBYSCORE') or not (whole(place) and job) and 'ERR an argument is missing or no number'
if why then return redis.error_reply(why) end
local count = redis.call('ZCOUNT', waiting, '-inf', '(' .. place)
for _, other in ipairs(redis.call('ZRANGEBYSCORE', waiting, place, place, 'LIMIT', 0, 1000)) do
  if other < job then count = count + 1 end
end
return { 'ahead', count }
