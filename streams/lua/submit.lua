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
--- @include "earlier_state"
--- @include "hint"
--- @include "make_job"
--- @include "now_ms"
--- @include "refuse_waiting"
local tag, head, workflow, time_ms = string.match(KEYS[5], '^(.*):later$'), KEYS[2], KEYS[3], now_ms()
local keys = { log = KEYS[1], workflows = KEYS[4], later = KEYS[5], deadlines = KEYS[6], queues = KEYS[7] }
local job = { name = ARGV[1], event_id = ARGV[2], payload = ARGV[3], sha = ARGV[4], graph = ARGV[5] }
job.queue, job.priority, job.needs, job.user, job.kind = unpack(ARGV, 11, 15)
local due, within_ms, why, at = whole(ARGV[6]), whole(ARGV[7]), may_submit(tag, keys), nil
if not why then at, why = waiting_place(tag, job) end
why = why or check_key(head, 'hash', 'HMGET HSET') or check_key(workflow, 'string', 'SET') or refused_states('EXISTS TYPE PEXPIRE', tag)
  or not (due and within_ms and job.kind) and 'ERR a time is not a whole number, or an argument is missing'
  or not whole(redis.call('HGET', keys.workflows, job.sha) or '0') and 'ERR a graph is not counted by a number'
if why then return redis.error_reply(why) end
local known_sha, first, status, made_by = unpack(redis.call('HMGET', head, 'workflow', 'first', 'status', 'made_by'))
if known_sha and redis.call('HSET', head, 'workflow', known_sha) and made_by == job.event_id then return { 'submitted', first } end
if known_sha then return known_sha == job.sha and { 'exists', first, status } or { 'differs' } end
local refusal = refuse_waiting(tag, job.queue, ARGV[10], ARGV[17], time_ms) if refusal then return refusal end
for _, state in ipairs(has_earlier_state(tag, job.name) and { states_of(tag, job.name) } or {}) do
  if not check_key(state, 'hash') then redis.call('PEXPIRE', state, 0) end
end
local entry = make_job(tag, keys.log, head, job, 'later')
redis.call('HINCRBY', keys.workflows, job.sha, 1)
redis.call('SADD', keys.queues, job.queue)
if within_ms > 0 then redis.call('ZADD', keys.deadlines, string.format('%d', (due > 0 and due or time_ms) + within_ms), job.name) end
if due > 0 then redis.call('ZADD', keys.later, due, job.name) return { 'submitted', entry } end
enter_waiting(at, head, job.name, adopt_place(at, ARGV[16]))
hint(ARGV[8], ARGV[9])
return { 'submitted', entry }
