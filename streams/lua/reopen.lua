#!lua
--[[
  Let an imported job that has not ended wait for a runner, as after its submit.

  KEYS[1]  head       HASH of the job
  KEYS[2]  workflow   STRING, the graph
  KEYS[3]  workflows  HASH, graph -> open jobs that need it
  KEYS[4]  later      ZSET by due time, Unix ms
  KEYS[5]  queues     SET of names
  KEYS[6]  deadlines  ZSET by time, Unix ms

  ARGV[1]  job id
  ARGV[2]  SHA-256 of the graph
  ARGV[3]  the graph; '' = it is not known, and the job will fail for that
  ARGV[4]  queue
  ARGV[5]  due, Unix ms; 0 = now
  ARGV[6]  signature of its needs
  ARGV[7]  when it must have started, or is to be canceled, Unix ms; 0 = no such time
  ARGV[8]  spread layout: its place in the namespace's order, as take_places.lua gives it; '' = none

  Returns  {"reopened"}
           {"known"}      it waits already, or has ended
]]
--- @include "adopt_place"
--- @include "now_ms"
--- @include "waiting"
local head, job, sha, graph, due, end_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3], whole(ARGV[5]), whole(ARGV[7])
local time_ms = now_ms()
local why = check_key(head, 'hash', 'HMGET HSET') or check_key(KEYS[2], 'string', 'SET') or check_key(KEYS[3], 'hash', 'HGET HINCRBY')
  or check_key(KEYS[4], 'zset', 'ZADD') or check_key(KEYS[5], 'set', 'SADD') or check_key(KEYS[6], 'zset', 'ZADD')
  or check_rights(string.match(KEYS[4], '^(.*):later$'), 'ZADD ZRANGE', 'ZSCORE ZADD', '') or not (due and end_ms) and 'ERR a time is not a whole number'
  or not whole(redis.call('HGET', KEYS[3], sha) or '0') and 'ERR a graph is not counted by a number'
if why then return redis.error_reply(why) end
local status, phase, priority, user, kind = unpack(redis.call('HMGET', head, 'status', 'phase', 'priority', 'user', 'kind'))
if status ~= 'open' or phase ~= 'imported' then return { 'known' } end
local at, trouble = waiting_place(string.match(KEYS[4], '^(.*):later$'), { queue = ARGV[4], priority = priority or 'normal', needs = ARGV[6], user = user, kind = kind })
if not at then return redis.error_reply(trouble) end
redis.call('HSET', head, 'phase', 'later', 'dispatch', '', 'needs', ARGV[6])
if graph ~= '' then redis.call('SET', KEYS[2], graph) end
redis.call('HINCRBY', KEYS[3], sha, 1)
redis.call('SADD', KEYS[5], ARGV[4])
if end_ms > 0 then redis.call('ZADD', KEYS[6], end_ms, job) end
if due <= time_ms then enter_waiting(at, head, job, adopt_place(at, ARGV[8])) else redis.call('ZADD', KEYS[4], due, job) end
return { 'reopened' }
