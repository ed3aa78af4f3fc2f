#!lua
--[[
  Make a job known: head, graph, its place among those that wait, and first event, all at once.
  Repeating it with the same job id changes nothing: it writes what is there, for a WAIT behind it.
  KEYS[1]  log        STREAM
  KEYS[2]  head       HASH of the job
  KEYS[3]  workflow   STRING, the graph by content
  KEYS[4]  workflows  HASH, graph -> open jobs that need it
  KEYS[5]  later      ZSET by due time, Unix ms
  KEYS[6]  deadlines  ZSET by time, Unix ms      KEYS[7]  queues  SET of queue names
  ARGV[1]  job id      ARGV[2]  event id
  ARGV[3]  payload, the encoded `submitted` event
  ARGV[4]  SHA-256 of the graph      ARGV[5]  the graph, JSON
  ARGV[6]  due, Unix ms; 0 = may run now
  ARGV[7]  ms after now, or after it is due, within which it must have started; 0 = no limit
  ARGV[8]  wake channel      ARGV[9]  its message
  ARGV[10] number of partitions, over which the waiting jobs of a queue are counted
  ARGV[11..] where it waits: queue; priority; signature of its needs; user; kind. Spread layout, too:
           its place in the namespace's order, as take_places.lua gives it, '' = none; Unix ms up to
           which room in a limited queue is reserved, 0 = none
  Returns  {"submitted", entry id}          it is new, or was made by this very event
           {"exists", entry id, status}     an earlier submit of the same graph
           {"differs"}                      an earlier submit of another graph
           {"full", count, limit}           as many jobs wait in its queue as may
           {"limited", limit, Unix ms now}  spread layout: room in its queue is to be reserved first
]]
--- @include "adopt_place"
--- @include "append_entry"
--- @include "hint"
--- @include "now_ms"
--- @include "refuse_waiting"
--- @include "waiting"
local log, head, workflow, workflows, later, deadlines = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local job, event_id, sha, due, within_ms, time_ms = ARGV[1], ARGV[2], ARGV[4], whole(ARGV[6]), whole(ARGV[7]), now_ms()
local tag, queue, priority, needs, user, kind = string.match(later, '^(.*):later$'), unpack(ARGV, 11, 15)
local why, at = check_rights(tag, 'ZADD ZRANGE', 'ZSCORE ZADD', ''), nil
if not why then at, why = waiting_place(tag, { queue = queue, priority = priority, needs = needs, user = user, kind = kind }) end
why = why or check_key(log, 'stream', 'XADD') or check_key(head, 'hash', 'HMGET HSET') or check_key(workflow, 'string', 'SET')
  or check_key(workflows, 'hash', 'HGET HINCRBY') or check_key(later, 'zset', 'ZADD')
  or check_key(deadlines, 'zset', 'ZADD') or check_key(KEYS[7], 'set', 'SADD')
  or not (due and within_ms and kind) and 'ERR a time is not a whole number, or an argument is missing'
  or not whole(redis.call('HGET', workflows, sha) or '0') and 'ERR a graph is not counted by a number'
if why then return redis.error_reply(why) end
local known_sha, first, status, made_by = unpack(redis.call('HMGET', head, 'workflow', 'first', 'status', 'made_by'))
if known_sha and redis.call('HSET', head, 'workflow', known_sha) and made_by == event_id then return { 'submitted', first } end
if known_sha then return known_sha == sha and { 'exists', first, status } or { 'differs' } end
local refusal = refuse_waiting(tag, queue, ARGV[10], ARGV[17], time_ms) if refusal then return refusal end
local entry = append_entry(log, '*', job, 1, 0, '0-0', ARGV[3])
redis.call('HSET', head, 'seq', 1, 'epoch', 0, 'status', 'open', 'phase', 'later', 'owner', '', 'workflow', sha,
  'queue', queue, 'priority', priority, 'needs', needs, 'user', user, 'kind', kind,
  'dispatch', '', 'first', entry, 'last', entry, 'made_by', event_id, 'recent', '')
redis.call('SET', workflow, ARGV[5])
redis.call('HINCRBY', workflows, sha, 1)
redis.call('SADD', KEYS[7], queue)
if within_ms > 0 then redis.call('ZADD', deadlines, string.format('%d', (due > 0 and due or time_ms) + within_ms), job) end
if due > 0 then redis.call('ZADD', later, due, job) return { 'submitted', entry } end
enter_waiting(at, head, job, adopt_place(at, ARGV[16]))
hint(ARGV[8], ARGV[9])
return { 'submitted', entry }
