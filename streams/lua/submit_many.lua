#!lua
--[[
  Make many jobs of one partition known, as submit.lua does one, in the shared layout: jobs of one queue,
  priority, user and kind that may run now. Each is made whole, or not at all.
  KEYS[1]  log        STREAM
  KEYS[2]  workflows  HASH, graph -> open jobs that need it
  KEYS[3]  later      ZSET by due time, Unix ms
  KEYS[4]  deadlines  ZSET by time, Unix ms      KEYS[5]  queues  SET of queue names
  KEYS[6..] two per job: head, HASH; workflow, STRING, its graph by content
  ARGV[1]  ms within which each must have started; 0 = no limit
  ARGV[2]  wake channel      ARGV[3]  its message
  ARGV[4]  queue      ARGV[5]  priority      ARGV[6]  user      ARGV[7]  kind
  ARGV[8..] six per job: job id; event id; payload, the encoded `submitted` event; SHA-256 of its graph;
           the graph, JSON, '' = a job before has it; signature of its needs
  Returns  one outcome per job:
           {"submitted", entry id}   it is new, or was made by this very event
           {"alone"}                 it is known already, or was before it was trimmed, or a limit counts:
                                     submit.lua says what it is
]]
--- @include "earlier_state"
--- @include "make_job"
--- @include "now_ms"
--- @include "row"
local tag, outcomes, time_ms, within_ms = string.match(KEYS[3], '^(.*):later$'), {}, now_ms(), whole(ARGV[1])
local keys, queue, priority = { log = KEYS[1], workflows = KEYS[2], later = KEYS[3], deadlines = KEYS[4], queues = KEYS[5] }, ARGV[4], ARGV[5]
local jobs, places, graphs, why = {}, {}, {}, may_submit(tag, keys) or refused('HMGET HSET', tag .. ':head:') or refused('SET', tag .. ':workflow:') or refused_states('EXISTS', tag)
  or not (within_ms and namespace_of(tag) and #ARGV - 7 == 3 * (#KEYS - 5)) and 'ERR a number is not whole, or an argument is missing'
for i = 1, why and 0 or (#KEYS - 5) / 2 do
  local job = { head = KEYS[2 * i + 4], queue = queue, priority = priority, user = ARGV[6], kind = ARGV[7] }
  job.name, job.event_id, job.payload, job.sha, job.graph, job.needs = unpack(ARGV, 6 * i + 2, 6 * i + 7)
  if not places[job.needs] then places[job.needs], why = waiting_place(tag, job) end
  why = why or check_key(job.head, 'hash') or job.graph ~= '' and (check_key(KEYS[2 * i + 5], 'string')
    or not whole(redis.call('HGET', keys.workflows, job.sha) or '0') and 'ERR a graph is not counted by a number') or nil
  jobs[i], job.at, graphs[job.sha] = job, places[job.needs], graphs[job.sha] or job.graph
  if why then break end
end
if why then return redis.error_reply(why) end
local own, any = read_limits(tag, 'waiting queue ' .. queue, 'waiting queue *')
local row = { waiting = {}, lines = {}, made = {} }
local function make(job)
  local known_sha, first, made_by = unpack(redis.call('HMGET', job.head, 'workflow', 'first', 'made_by'))
  if known_sha and redis.call('HSET', job.head, 'workflow', known_sha) and made_by == job.event_id then return { 'submitted', first } end
  if known_sha or own or any or has_earlier_state(tag, job.name) then return { 'alone' } end
  -- The first one that is made, for the one that brings it may be known.
  job.graph, graphs[job.sha] = graphs[job.sha], ''
  local place = place_next(row, job.at)
  local entry = make_job(tag, keys.log, job.head, job, 'waiting', 'place', place, 'line', job.at.name)
  join_row(row, job, place)
  return { 'submitted', entry }
end
for i, job in ipairs(jobs) do
  local is_done, outcome = pcall(make, job)
  if is_done then outcomes[i] = outcome else enter_row(row, keys, queue, time_ms, within_ms) error(outcome) end
end
if enter_row(row, keys, queue, time_ms, within_ms) then redis.pcall('PUBLISH', ARGV[2], ARGV[3]) end
return outcomes
