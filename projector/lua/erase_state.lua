#!lua flags=allow-oom
--[[
  Delete the state of a job that has ended, and take the job out of the indexes.

  KEYS[1]  job      HASH, the job's state
  KEYS[2]  active   ZSET, open jobs by last event time
  KEYS[3]  ended    ZSET, closed jobs by last event time
  KEYS[4]  index    ZSET, jobs by their names, see index_jobs.lua
  KEYS[5]  indexed  HASH, job -> its entry
  KEYS[6]  moving   HASH, a rebuilt state of the job that is to be moved

  ARGV[1]  job id

  Returns  {"erased"}
           {"gone"}    it had no state; its entries in the indexes are gone, too
]]
--- @include "check_key"
--- @include "index_jobs"
local job = ARGV[1]
local why = check_key(KEYS[1], 'hash', 'PEXPIRE') or check_key(KEYS[2], 'zset', 'ZREM') or check_key(KEYS[3], 'zset', 'ZREM')
  or check_key(KEYS[4], 'zset', 'ZREM') or check_key(KEYS[5], 'hash', 'HGET HDEL') or check_key(KEYS[6], 'hash', 'PEXPIRE') or not job and 'ERR an argument is missing'
if why then return redis.error_reply(why) end
local was_there = redis.call('PEXPIRE', KEYS[1], 0) + redis.call('PEXPIRE', KEYS[6], 0) > 0
redis.call('ZREM', KEYS[2], job)
redis.call('ZREM', KEYS[3], job)
unindex_job(KEYS[4], KEYS[5], job)
return { was_there and 'erased' or 'gone' }
