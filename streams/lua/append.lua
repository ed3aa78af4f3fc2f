#!lua
--[[
  Append events of one partition's jobs. A terminal event closes its job and takes it out of dispatch.

  KEYS[1]  log         STREAM
  KEYS[2]  later       ZSET by due time
  KEYS[3]  workflows   HASH, graph -> open jobs that need it
  KEYS[4..] head       HASH of each event's job; one per event

  ARGV[1]  hash tag of the partition, from which dispatch and workflow keys are made
  ARGV[2]  ms that a graph is kept after its last open job
  ARGV[3..] seven per event: job id; event id; expected seq, -1 = any; epoch of the lease, 0 = no lease
           needed, -1 = only while no runner has a lease (so is an end with 0); the lease's runner,
           '' = do not compare; effect: '' none, 'cancel' marks the job, else the closing status; payload

  Returns  one outcome per event:
           {"appended", seq, entry id}
           {"duplicate", seq, entry id}   this event id is already in the log
           {"fenced", current epoch}      {"closed", status}      {"conflict", actual seq}
           {"leased", owner}              {"unknown"}             no such job
]]
--- @include "append_entry"
--- @include "recent_ids"
local log, later, workflows, tag, workflow_ttl_ms = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]

local function close(head, job, status, phase, dispatch_id, queue, priority, sha)
  if phase == 'later' then redis.call('ZREM', later, job) end
  local dispatch = tag .. ':dispatch:' .. queue .. ':' .. priority
  if dispatch_id ~= '' and redis.call('XDEL', dispatch, dispatch_id) then redis.pcall('XACK', dispatch, 'runners', dispatch_id) end
  if redis.call('HINCRBY', workflows, sha, -1) <= 0 then
    redis.call('HDEL', workflows, sha)
    redis.call('PEXPIRE', tag .. ':workflow:' .. sha, workflow_ttl_ms)
  end
  redis.call('HSET', head, 'status', status, 'phase', 'closed')
end

local function append(head, job, event_id, expected, epoch, holder, effect, payload)
  local now_seq, now_epoch, status, phase, owner, recent, last, dispatch_id, queue, priority, sha = unpack(redis.call('HMGET',
    head, 'seq', 'epoch', 'status', 'phase', 'owner', 'recent', 'last', 'dispatch', 'queue', 'priority', 'workflow'))
  if not now_seq then return { 'unknown' } end
  local seq, entry = find_recent(recent, event_id)
  if seq then return { 'duplicate', tonumber(seq), entry } end
  now_seq, now_epoch, expected, epoch = tonumber(now_seq), tonumber(now_epoch), tonumber(expected), tonumber(epoch)
  if status ~= 'open' then return { 'closed', status } end
  local mine = phase == 'leased' and now_epoch == epoch and (holder == '' or holder == owner)
  if epoch > 0 and not mine then return { 'fenced', now_epoch } end
  local needs_none = epoch < 0 or epoch == 0 and effect ~= '' and effect ~= 'cancel'
  if needs_none and phase ~= 'waiting' and phase ~= 'later' then return { 'leased', owner } end
  if expected >= 0 and now_seq ~= expected then return { 'conflict', now_seq } end
  seq, entry = now_seq + 1, append_entry(log, '*', job, now_seq + 1, now_epoch, last, payload)
  redis.call('HSET', head, 'seq', seq, 'last', entry, 'recent', add_recent(recent, event_id, seq, entry))
  if effect == 'cancel' then redis.call('HSET', head, 'cancel', 1)
  elseif effect ~= '' then close(head, job, effect, phase, dispatch_id, queue, priority, sha) end
  return { 'appended', seq, entry }
end

local outcomes = {}
for i = 4, #KEYS do outcomes[i - 3] = append(KEYS[i], unpack(ARGV, 7 * i - 25, 7 * i - 19)) end
return outcomes
