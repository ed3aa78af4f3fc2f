#!lua flags=allow-oom
--[[
  Take a job out of the indexes, unless it has a state: it may just have got a new one.

  KEYS[1]  job      HASH, the job's state
  KEYS[2]  active   ZSET, open jobs by last event time
  KEYS[3]  ended    ZSET, closed jobs by last event time
  KEYS[4]  index    ZSET, jobs by their names, see index_jobs.lua
  KEYS[5]  indexed  HASH, job -> its entry
  KEYS[6]  moving   HASH, a rebuilt state of the job that is to be moved

  ARGV[1]  job id

  Returns  {"dropped"}
           {"alive"}    it has a state; nothing was written
]]
--- @include "check_key"
--- @include "index_jobs"
local job = ARGV[1]
local why = check_key(KEYS[2], 'zset', 'ZREM') or check_key(KEYS[3], 'zset', 'ZREM') or refused('EXISTS', KEYS[1]) or refused('EXISTS', KEYS[6])
  or check_key(KEYS[4], 'zset', 'ZREM') or check_key(KEYS[5], 'hash', 'HGET HDEL')
if why then return redis.error_reply(why) end
if redis.call('EXISTS', KEYS[1], KEYS[6]) > 0 then return { 'alive' } end
redis.call('ZREM', KEYS[2], job)
redis.call('ZREM', KEYS[3], job)
unindex_job(KEYS[4], KEYS[5], job)
return { 'dropped' }
