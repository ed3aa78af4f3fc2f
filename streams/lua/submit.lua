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
  ARGV[9]  time by which it must have started, Unix ms; 0 = none
  ARGV[10] wake channel
  ARGV[11] wake message

  Returns  {"submitted", entry id}          it is new, or was made by this very event
           {"exists", entry id, status}     an earlier submit of the same graph
           {"differs"}                      an earlier submit of another graph
]]
--- @include "append_entry"
local log, head, workflow, workflows, dispatch = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local later, deadlines, queues = KEYS[6], KEYS[7], KEYS[8]
local job, event_id, payload, sha, graph = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local queue, priority, due, deadline = ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local known = redis.call('HMGET', head, 'workflow', 'first', 'status', 'made_by')
if known[1] then
  if known[4] == event_id then return { 'submitted', known[2] } end
  if known[1] ~= sha then return { 'differs' } end
  return { 'exists', known[2], known[3] }
end

local entry = append_entry(log, '*', job, 1, 0, '0-0', payload)
redis.call('SET', workflow, graph)
redis.call('HINCRBY', workflows, sha, 1)
redis.call('SADD', queues, queue)
if deadline ~= '0' then redis.call('ZADD', deadlines, deadline, job) end
local phase, dispatch_id = 'later', ''
if due == '0' then
  phase, dispatch_id = 'waiting', redis.call('XADD', dispatch, '*', 'j', job)
  redis.call('PUBLISH', ARGV[10], ARGV[11])
else
  redis.call('ZADD', later, due, job)
end
redis.call('HSET', head, 'seq', 1, 'epoch', 0, 'status', 'open', 'phase', phase, 'owner', '',
  'workflow', sha, 'queue', queue, 'priority', priority, 'dispatch', dispatch_id,
  'first', entry, 'last', entry, 'made_by', event_id, 'recent', '')
return { 'submitted', entry }
