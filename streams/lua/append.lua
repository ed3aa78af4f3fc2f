#!lua
--[[
  Append events of one partition's jobs. A terminal event closes its job and takes it out of dispatch.
  KEYS[1]  log         STREAM
  KEYS[2]  later       ZSET by due time
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
--- @include "job_place"
--- @include "now_ms"
--- @include "open_job"
local log, later, workflows, tag, call, deadlines = KEYS[1], KEYS[2], KEYS[3], ARGV[1], redis.call, ARGV[1] .. ':deadlines'
local outcomes, why, time_ms = {}, check_key(log, 'stream', 'XADD') or check_key(later, 'zset', 'ZREM') or check_key(deadlines, 'zset', 'ZADD')
  or check_key(workflows, 'hash', 'HGET HINCRBY HDEL') or refused('HMGET HGET HSET HDEL', tag .. ':head:') or check_key(tag .. ':blocked', 'zset', 'ZREM')
  or refused('XDEL XACK', tag .. ':dispatch:') or refused('PEXPIRE', tag .. ':workflow:') or refused('PEXPIRE', tag .. ':partner_keys:') or check_rights(tag, 'ZADD ZREM ZRANGE', '', 'SREM') or not whole(ARGV[2]) and 'ERR the time is not a whole number', now_ms()
if why then return redis.error_reply(why) end
local function append(head, name, event_id, author, expected, epoch, holder, effect, payload)
  expected, epoch = whole(expected), whole(epoch)
  if not (expected and epoch and payload) then return { 'broken', 'a number is not whole, or an argument is missing' } end
  local job, outcome = open_job(head, author, event_id, -2 - expected)
  if not job then return outcome end
  local kind, phase, closes = string.match(payload, '^{"type":"job%.([%a_]+)"'), job.phase, effect ~= '' and effect ~= 'cancel'
  local is_mine = phase == 'leased' and job.epoch == epoch and (holder == '' or holder == job.owner)
  if epoch > 0 and not is_mine then return { 'fenced', job.epoch } end
  local waits, needs_lease = phase == 'waiting' or phase == 'later', kind ~= 'rewound' and kind ~= 'cancel_requested' and (phase == 'leased' or phase == 'released')
  if epoch <= 0 and not waits and (needs_lease or epoch < 0 or closes) then return { 'leased', job.owner } end
  local seq, entry = string.match(effect == 'cancel' and job.cancel or '', '^(%d+) (%S+)$')
  if seq then call('HSET', head, 'cancel', job.cancel) return { 'duplicate', whole(seq), entry } end
  if expected >= 0 and job.seq ~= expected then return { 'conflict', job.seq } end
  local graph, at, sets, damage = tag .. ':workflow:' .. job.workflow, nil, nil, nil
  local keys = closes and tag .. ':partner_keys:' .. name .. ':' .. (call('HGET', head, 'made_by') or '')
  if closes then at, sets, damage = job_place(tag, job) end
  damage = damage or closes and (not whole(call('HGET', workflows, job.workflow) or '0') and 'its graph is not counted by a number' or check_key(graph, 'string') or check_key(keys, 'string'))
  if damage then return { 'broken', damage } end
  seq, entry = append_to(log, head, name, job, author, event_id, payload)
  -- The next promotion ends a waiting one: whoever asks may die before, and no backend may have room.
  if effect == 'cancel' then call('HSET', head, 'cancel', seq .. ' ' .. entry) if waits then call('ZADD', deadlines, time_ms, name) end end
  if closes then
    leave_place(tag, at, sets, head, name, job)
    if call('HINCRBY', workflows, job.workflow, -1) <= 0 then call('HDEL', workflows, job.workflow) call('PEXPIRE', graph, ARGV[2]) end
    call('PEXPIRE', keys, 0) call('HSET', head, 'status', effect, 'phase', 'closed')
  end
  return { 'appended', seq, entry }
end
for i = 4, #KEYS do outcomes[i - 3] = append(KEYS[i], unpack(ARGV, 8 * i - 29, 8 * i - 22)) end
return outcomes
