#!lua
--[[
  Append events of one partition's jobs. A terminal event closes its job and takes it out of dispatch.
  KEYS[1]  log         STREAM      KEYS[2]  later  ZSET by due time
  KEYS[3]  workflows   HASH, graph -> open jobs that need it
  KEYS[4..] head       HASH of each event's job; one per event
  ARGV[1]  hash tag of the partition, of which dispatch, workflow, deadlines and partner_keys are made
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
local log, later, workflows, tag, deadlines = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[1] .. ':deadlines'
local outcomes, effects, time_ms = {}, {}, nil
local why = check_key(log, 'stream', 'XADD') or refused('HMGET HGET HSET HDEL', tag .. ':head:') or stand_still(tag) or not whole(ARGV[2]) and 'ERR the time is not a whole number'
-- Most events have no effect: of what these do not touch nothing is asked.
for i = 9, #ARGV, 8 do effects[ARGV[i] == 'cancel' and 'cancel' or ARGV[i] ~= '' and 'close' or ''] = true end
if effects.cancel then why, time_ms = why or check_key(deadlines, 'zset', 'ZADD'), now_ms() end
if effects.close then why = why or may_close(tag, later, workflows) end if why then return redis.error_reply(why) end
-- The job that was appended to last: it is read and written once for all its events in a row.
local open = {}
local function leave_open() if open.job then write_head(open.head, open.job) end open = {} end
local function append(head, name, event_id, author, expected, epoch, holder, effect, payload)
  expected, epoch = whole(expected), whole(epoch)
  if not (expected and epoch and payload) then return { 'broken', 'a number is not whole, or an argument is missing' } end
  if open.head ~= head or open.job.author ~= author or effect ~= '' then
    leave_open()
    local job, unknown = open_head(head, author)
    if unknown then return unknown end
    open = { head = head, job = job }
  end
  local job, touched, damage = open.job, nil, nil
  local outcome, closes = refuse_append(head, job, event_id, expected, epoch, holder, effect, payload), effect ~= '' and effect ~= 'cancel'
  if closes and not outcome then touched, damage = closing(tag, workflows, head, name, job) end
  if outcome or damage then return outcome or { 'broken', damage } end
  local seq, entry = append_to(log, name, job, event_id, payload)
  if effect ~= '' then leave_open() end
  -- The next promotion ends a waiting one: whoever asks may die before, and no backend may have room.
  if effect == 'cancel' then redis.call('HSET', head, 'cancel', seq .. ' ' .. entry) end
  if effect == 'cancel' and (job.phase == 'waiting' or job.phase == 'later') then redis.call('ZADD', deadlines, time_ms, name) end
  if closes then close_job(tag, workflows, head, name, job, touched, effect, ARGV[2]) end
  return { 'appended', seq, entry }
end
for i = 4, #KEYS do
  local is_done, outcome = pcall(append, KEYS[i], unpack(ARGV, 8 * i - 29, 8 * i - 22))
  if is_done then outcomes[i - 3] = outcome else leave_open() error(outcome) end
end
leave_open()
return outcomes
