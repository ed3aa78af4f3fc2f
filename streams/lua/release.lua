#!lua
--[[
  Release a lease, at its runner's will: another runner takes the job over at once, or the job waits
  for a time. Neither counts as a crash.
  KEYS[1]  log        STREAM
  KEYS[2]  head       HASH of the job
  KEYS[3]  dispatch   STREAM of the job's queue and priority
  KEYS[4]  later      ZSET by due time, Unix ms
  ARGV[1]  job id      ARGV[2]  event id
  ARGV[3]  epoch and runner of the lease, as "epoch runner"
  ARGV[4]  payload, the encoded `released` or `retried` event
  ARGV[5]  due, Unix ms, or "+ms" from now; 0 = at once, as when it is to be canceled
  ARGV[6]  wake channel      ARGV[7]  its message
  ARGV[8]  author of the event
  ARGV[9]  seq up to which no event is known to have this id; -1 = not looked
  ARGV[10] fingerprint of what a runner reads that cannot read the job; '' = another reason
  ARGV[11] ms that such a job waits for a runner that reads more
  ARGV[12] "runner ms": for so long only that one may take it over; '' = any may
  Returns  {"released", seq, entry id}
           {"duplicate", seq, entry id}   this event id is already in the log
           {"old", seq}                   the head may have forgotten this id: look for it up to seq
           {"fenced", current epoch}      {"closed", status}      {"unknown"}
           {"broken", why}                a key of the job cannot be used; nothing was written
]]
--- @include "job_place"
--- @include "kept_for"
--- @include "hint"
--- @include "now_ms"
--- @include "open_job"
--- @include "wait_for_reader"
local log, head, dispatch, later = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local name, event_id, lease, payload, due = ARGV[1], ARGV[2], ARGV[3], ARGV[4], whole((string.gsub(ARGV[5], '^%+', '')))
local reads, wait_ms, tag = ARGV[10] or '', whole(ARGV[11] or '0'), string.match(later, '^(.*):later$')
local why, time_ms = check_key(log, 'stream', 'XADD') or check_key(later, 'zset', 'ZADD') or check_key(tag .. ':blocked', 'zset', 'ZADD')
  or check_key(dispatch, 'stream', 'XCLAIM XACK XDEL') or refused('HMGET HGET HSET HDEL', head) or check_rights(tag, '', '', 'SREM'), now_ms()
if why or not (due and wait_ms) then return redis.error_reply(why or 'ERR a time is not a whole number') end
if string.sub(ARGV[5], 1, 1) == '+' then due = string.format('%d', due + time_ms) end
local job, outcome = open_head(head, ARGV[8])
outcome = outcome or refuse_event(head, job, event_id, whole(ARGV[9])) if outcome then return outcome end
if job.phase ~= 'leased' or job.epoch .. ' ' .. job.owner ~= lease then return { 'fenced', job.epoch } end
read_job_place(head, job)
local at, sets, damage = job_place(tag, job)
if damage then return { 'broken', damage } end
local is_ready = reads == '' and (due == 0 or job.cancel)
-- Idle beyond every limit: the next sweep takes it over at once. The first write: it needs the group.
local kept = is_ready and redis.pcall('XCLAIM', dispatch, 'runners', 'released', 0, job.dispatch, 'IDLE', 31536000000, 'JUSTID')
if kept and kept.err then return { 'broken', kept.err } end
local seq, entry = append_to(log, name, job, event_id, payload)
write_head(head, job)
if is_ready then
  redis.call('HSET', head, 'phase', 'released', 'owner', '')
  keep_for(head, ARGV[12] or '', time_ms)
  hint(ARGV[6], ARGV[7])
else
  if reads ~= '' then wait_for_reader(tag, head, name, reads, time_ms, wait_ms)
  elseif redis.call('ZADD', later, due, name) then redis.call('HSET', head, 'phase', 'later', 'dispatch', '', 'owner', '') end
  leave_dispatch(at, sets, head, job.dispatch)
end
return { 'released', seq, entry }
