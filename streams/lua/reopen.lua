#!lua
--[[
  Let an imported job that has not ended wait for a runner, as after its submit.

  KEYS[1]  head       HASH of the job
  KEYS[2]  workflow   STRING, the graph
  KEYS[3]  workflows  HASH, graph -> open jobs that need it
  KEYS[4]  dispatch   STREAM of the job's queue and priority
  KEYS[5]  later      ZSET by due time, Unix ms
  KEYS[6]  queues     SET of names

  ARGV[1]  job id
  ARGV[2]  SHA-256 of the graph
  ARGV[3]  the graph; '' = it is not known, and the job will fail for that
  ARGV[4]  queue
  ARGV[5]  due, Unix ms; 0 = now

  Returns  {"reopened"}
           {"known"}      it waits already, or has ended
]]
local head, job, sha, graph, due = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local status, phase = unpack(redis.call('HMGET', head, 'status', 'phase'))
if status ~= 'open' or phase ~= 'imported' then return { 'known' } end
if graph ~= '' then redis.call('SET', KEYS[2], graph) end
redis.call('HINCRBY', KEYS[3], sha, 1)
redis.call('SADD', KEYS[6], ARGV[4])
if due == '0' then
  redis.call('HSET', head, 'phase', 'waiting', 'dispatch', redis.call('XADD', KEYS[4], '*', 'j', job))
else
  redis.call('ZADD', KEYS[5], due, job)
  redis.call('HSET', head, 'phase', 'later', 'dispatch', '')
end
return { 'reopened' }
