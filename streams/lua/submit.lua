#!lua
--[[
  Make a job known: head, graph, dispatch entry and first event, all at once.
  Repeating it with the same job id changes nothing.
  KEYS[1]  log        STREAM
  KEYS[2]  head       HASH of the job
  KEYS[3]  workflow   STRING, the graph by content
  KEYS[4]  workflows  HASH, graph -> open jobs that need it
  KEYS[5]  dispatch   STREAM of the job's queue and priority
  KEYS[6]  later      ZSET by due time, Unix ms
  KEYS[7]  deadlines  ZSET by time, Unix ms
  KEYS[8]  queues     SET of queue names
  ARGV[1]  job id
  ARGV[2]  event id
  ARGV[3]  payload, the encoded `submitted` event
  ARGV[4]  SHA-256 of the graph
  ARGV[5]  the graph, JSON
  ARGV[6]  queue
  ARGV[7]  priority
  ARGV[8]  due, Unix ms; 0 = may run now
  ARGV[9]  ms after now, or after it is due, within which it must have started; 0 = no limit
  ARGV[10] wake channel
  ARGV[11] wake message

  Returns  {"submitted", entry id}          it is new, or was made by this very event
           {"exists", entry id, status}     an earlier submit of the same graph
           {"differs"}                      an earlier submit of another graph
]]
--- @include "append_entry"
--- @include "check_key"
--- @include "now_ms"
local log, head, workflow, workflows, dispatch = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local later, deadlines, queues = KEYS[6], KEYS[7], KEYS[8]
local job, event_id, payload, sha, graph = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local queue, priority, due, within_ms, time_ms = ARGV[6], ARGV[7], whole(ARGV[8]), whole(ARGV[9]), now_ms()

local why = check_key(log, 'stream', 'XADD') or check_key(head, 'hash', 'HMGET HSET') or check_key(workflow, 'string', 'SET')
  or check_key(workflows, 'hash', 'HGET HINCRBY') or check_key(dispatch, 'stream', 'XADD') or check_key(later, 'zset', 'ZADD')
  or check_key(deadlines, 'zset', 'ZADD') or check_key(queues, 'set', 'SADD')
  or not (due and within_ms) and 'ERR a time is not a whole number'
  or not whole(redis.call('HGET', workflows, sha) or '0') and 'ERR a graph is not counted by a number'
if why then return redis.error_reply(why) end
local known_sha, first, status, made_by = unpack(redis.call('HMGET', head, 'workflow', 'first', 'status', 'made_by'))
if known_sha and made_by == event_id then return { 'submitted', first } end
if known_sha then return known_sha == sha and { 'exists', first, status } or { 'differs' } end
local entry = append_entry(log, '*', job, 1, 0, '0-0', payload)
redis.call('HSET', head, 'seq', 1, 'epoch', 0, 'status', 'open', 'phase', 'later', 'owner', '',
  'workflow', sha, 'queue', queue, 'priority', priority, 'dispatch', '',
  'first', entry, 'last', entry, 'made_by', event_id, 'recent', '')
redis.call('SET', workflow, graph)
redis.call('HINCRBY', workflows, sha, 1)
redis.call('SADD', queues, queue)
local begin_ms = due > 0 and due or time_ms
if within_ms > 0 then redis.call('ZADD', deadlines, string.format('%d', begin_ms + within_ms), job) end
if due == 0 then
  redis.call('HSET', head, 'phase', 'waiting', 'dispatch', redis.call('XADD', dispatch, '*', 'j', job))
  redis.pcall('PUBLISH', ARGV[10], ARGV[11])
else redis.call('ZADD', later, due, job) end
return { 'submitted', entry }
