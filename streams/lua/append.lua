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
--- @include "now_ms"
--- @include "refuse_append"
--- @include "stand_still"
local outcomes, tags, partitions, why, time_ms = {}, {}, { [ARGV[1] or ''] = { log = KEYS[1], later = KEYS[2], workflows = KEYS[3] } }, nil, nil
for i = 4, #KEYS do
  local tag, effect = string.match(KEYS[i], '^({[^}]*}):head:') or '', ARGV[8 * i - 23] or ''
  tags[i], partitions[tag] = tag, partitions[tag] or { log = tag .. ':log', later = tag .. ':later', workflows = tag .. ':workflows' }
  why, time_ms = why or unusable(tag, partitions[tag], effect), time_ms or effect == 'cancel' and now_ms()
end
why = why or not whole(ARGV[2]) and 'ERR the time is not a whole number' if why then return redis.error_reply(why) end
-- The job that was appended to last: it is read and written once for all its events in a row.
local open = {}
local function leave_open() if open.job then write_head(open.head, open.job) end open = {} end
local function append(tag, head, name, event_id, author, expected, epoch, holder, effect, payload)
  expected, epoch = whole(expected), whole(epoch)
  if not (expected and epoch and payload) then return { 'broken', 'a number is not whole, or an argument is missing' } end
  if open.head ~= head or open.job.author ~= author or effect ~= '' then
    leave_open()
    local job, unknown = open_head(head, author)
    if unknown then return unknown end
    open = { head = head, job = job }
  end
  local job, at, touched, damage = open.job, partitions[tag], nil, nil
  local outcome, closes = refuse_append(head, job, event_id, expected, epoch, holder, effect, payload), effect ~= '' and effect ~= 'cancel'
  if closes and not outcome then touched, damage = closing(tag, at.workflows, head, name, job) end
  if outcome or damage then return outcome or { 'broken', damage } end
  local seq, entry = append_to(at.log, name, job, event_id, payload)
  if effect ~= '' then leave_open() end
  -- The next promotion ends a waiting one: whoever asks may die before, and no backend may have room.
  if effect == 'cancel' then redis.call('HSET', head, 'cancel', seq .. ' ' .. entry) end
  if effect == 'cancel' and (job.phase == 'waiting' or job.phase == 'later') then redis.call('ZADD', tag .. ':deadlines', time_ms, name) end
  if closes then close_job(tag, at.workflows, head, name, job, touched, effect, ARGV[2]) end
  return { 'appended', seq, entry }
end
for i = 4, #KEYS do
  local is_done, outcome = pcall(append, tags[i], KEYS[i], unpack(ARGV, 8 * i - 29, 8 * i - 22))
  if is_done then outcomes[i - 3] = outcome else leave_open() error(outcome) end
end
leave_open()
return outcomes
