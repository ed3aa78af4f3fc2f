#!lua
--[[
  Release a lease, at its runner's will: another runner takes the job over at once, or the job waits
  for a time. Neither counts as a crash.

  KEYS[1]  log        STREAM
  KEYS[2]  head       HASH of the job
  KEYS[3]  dispatch   STREAM of the job's queue and priority
  KEYS[4]  later      ZSET by due time, Unix ms

  ARGV[1]  job id
  ARGV[2]  event id
  ARGV[3]  epoch and runner of the lease, as "epoch runner"
  ARGV[4]  payload, the encoded `released` or `retried` event
  ARGV[5]  due, Unix ms; 0 = another runner takes it over at once
  ARGV[6]  wake channel
  ARGV[7]  wake message

  Returns  {"released", seq, entry id}
           {"duplicate", seq, entry id}   this event id is already in the log
           {"fenced", current epoch}
           {"closed", status}
           {"unknown"}                    no such job
]]
--- @include "append_entry"
--- @include "recent_ids"
local log, head, dispatch, later = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local job, event_id, lease, payload, due = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local seq, epoch, status, phase, recent, last, dispatch_id, owner = unpack(redis.call('HMGET', head,
  'seq', 'epoch', 'status', 'phase', 'recent', 'last', 'dispatch', 'owner'))
if not seq then return { 'unknown' } end
local old_seq, old_entry = find_recent(recent, event_id)
if old_seq then return { 'duplicate', tonumber(old_seq), old_entry } end
if status ~= 'open' then return { 'closed', status } end
seq, epoch = tonumber(seq) + 1, tonumber(epoch)
if phase ~= 'leased' or epoch .. ' ' .. owner ~= lease then return { 'fenced', epoch } end

local entry = append_entry(log, '*', job, seq, epoch, last, payload)
recent = add_recent(recent, event_id, seq, entry)
redis.call('HSET', head, 'seq', seq, 'last', entry, 'recent', recent, 'owner', '')
if due == '0' then
  -- An idle time beyond every limit: the next sweep takes the entry over without waiting.
  redis.call('XCLAIM', dispatch, 'runners', 'released', 0, dispatch_id, 'IDLE', 31536000000, 'JUSTID')
  redis.call('HSET', head, 'phase', 'released')
  redis.call('PUBLISH', ARGV[6], ARGV[7])
else
  redis.call('XACK', dispatch, 'runners', dispatch_id)
  redis.call('XDEL', dispatch, dispatch_id)
  redis.call('ZADD', later, due, job)
  redis.call('HSET', head, 'phase', 'later', 'dispatch', '')
end
return { 'released', seq, entry }
