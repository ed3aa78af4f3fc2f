#!lua
--[[
  Append events of jobs, also of several partitions. A terminal one closes its job and takes it out of dispatch.
  KEYS[1]  log         STREAM      KEYS[2]  later  ZSET by due time
  KEYS[3]  workflows   HASH, graph -> open jobs that need it; these of the first event's partition
  KEYS[4..] head       HASH of each event's job; one per event
  ARGV[1]  hash tag of the first event's partition, of which all its other keys are made
  ARGV[2]  ms that a graph is kept after its last open job
  ARGV[3..] eight per event: job id; event id; author; expected seq, -1 = any, -2 - n = any, no event up
           to n has this id; epoch of the lease, 0 = none, -1 = only while no runner has one; its
           runner, '' = do not compare; effect: '', 'cancel' or closing status; payload
  Returns  one outcome per event:
           {"appended", seq, entry id}
           {"duplicate", seq, entry id}   this event id, or a request to cancel, is already in the log
           {"old", seq}                   the head may have forgotten this id: look for it up to seq
           {"fenced", current epoch}      {"closed", status}      {"conflict", actual seq}
           {"leased", owner}      {"unknown"}      {"broken", why}   a key is unusable
]]
--- @include "close_job"
--- @include "jobs_of_call"
--- @include "now_ms"
--- @include "refuse_append"
--- @include "stand_still"
local outcomes, jobs, at, partitions, why, time_ms, failure = {}, {}, {}, { [ARGV[1] or ''] = { log = KEYS[1], later = KEYS[2], workflows = KEYS[3] } }, nil, nil, nil
for i = 4, #KEYS do
  local tag, effect = tag_of(KEYS[i]), ARGV[8 * i - 23] or ''
  at[i] = partitions[tag] or { log = tag .. ':log', later = tag .. ':later', workflows = tag .. ':workflows' }
  partitions[tag], at[i].tag = at[i], tag
  why = why or unusable(at[i], KEYS[i], jobs[KEYS[i]] or read_job(jobs, KEYS[i], ARGV[8 * i - 27] or ''), effect)
  time_ms = time_ms or effect == 'cancel' and now_ms()
end
why = why or not whole(ARGV[2]) and 'ERR the time is not a whole number' if why then return redis.error_reply(why) end
local function append(of, head, name, event_id, author, expected, epoch, holder, effect, payload)
  expected, epoch = whole(expected), whole(epoch)
  if not (expected and epoch and payload) then return { 'broken', 'a number is not whole, or an argument is missing' } end
  local job, closes, place, sets, damage = job_of(jobs, head, author), effect ~= '' and effect ~= 'cancel', nil, nil, nil
  local outcome = job.refusal or refuse_append(head, job, event_id, expected, epoch, holder, effect, payload)
  if closes and not outcome then place, sets, damage = closing(of.tag, job) end
  if outcome or damage then return outcome or { 'broken', damage } end
  local seq, entry = append_to(of.log, name, job, event_id, payload)
  if effect == 'cancel' then
    job.cancel = seq .. ' ' .. entry
    redis.call('HSET', head, 'cancel', job.cancel)
    -- The next promotion ends a waiting one: whoever asks may die before, and no backend may have room.
    if job.phase == 'waiting' or job.phase == 'later' then redis.call('ZADD', of.tag .. ':deadlines', time_ms, name) end
  elseif closes then close_job(of.tag, of.workflows, head, name, job, effect, ARGV[2], place, sets) end
  return { 'appended', seq, entry }
end
for i = 4, #KEYS do
  local is_done, outcome = pcall(append, at[i], KEYS[i], unpack(ARGV, 8 * i - 29, 8 * i - 22))
  outcomes[i - 3], failure = outcome, not is_done and outcome or nil
  if failure then break end
end
for head, job in pairs(jobs) do write_job(head, job) end
if failure then error(failure) end
return outcomes
