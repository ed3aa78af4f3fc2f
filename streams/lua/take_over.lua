#!lua
--[[
  Lease jobs whose lease ran out, or whose runner is taken for dead, to another runner. Walks one
  page of the pending entries list from a cursor that the caller keeps. Passes over broken heads.
  KEYS[1]  log        STREAM
  KEYS[2]  dispatch   STREAM of a queue and priority
  ARGV[1]  hash tag of the partition, from which heads are named      ARGV[2]  runner
  ARGV[3]  idle ms from which a lease counts as run out
  ARGV[4]  cursor: dispatch entry id after which the page begins; '-' = from the start
  ARGV[5]  suspect: only this runner's leases, however fresh; '' = everybody's
  ARGV[6]  latest time, Unix ms, that the caller can explain; 0 = any. A clock that was set forward
           makes all leases look old
  ARGV[7..] two per job at most: `claimed` event for a released job, `recovered` event for an
           orphaned one (its previous_owner, crashes and idle_ms are filled in here)

  Returns  {"ahead", "-"}             the clock is ahead of that time; nothing was taken
           {"no_group", "-"}          no lease is known: call restore_leases.lua
           {"none", "-"}              no pending entry after the cursor
           {"page", cursor, job...}   cursor '-' when the walk is through; a job is
           {job id, epoch, seq, entry id, dispatch entry id, runner that is taken for dead or ''}
]]
--- @include "begin_lease"
--- @include "kept_for"
--- @include "now_ms"
--- @include "stand_still"
local log, dispatch, tag, runner = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local idle_limit_ms, cursor, suspect, latest_ms, PAGE = whole(ARGV[3]), ARGV[4], ARGV[5], whole(ARGV[6]), 1000
local time_ms, why = now_ms(), check_key(log, 'stream', 'XADD') or check_key(dispatch, 'stream', 'XPENDING XRANGE XCLAIM XACK XDEL EXISTS')
  or check_key(tag .. ':head:', 'hash', 'HMGET HSET HINCRBY EXISTS') or refused('TYPE SADD', root_of(tag) .. ':running:') or stand_still(tag)
if why then return redis.error_reply(why) end
if latest_ms > 0 and time_ms > latest_ms then return { 'ahead', '-' } end
local is_young, ask = suspect == '' and started_within(idle_limit_ms), { 'XPENDING', dispatch, 'runners', cursor == '-' and '-' or '(' .. cursor, '+', PAGE }
if suspect ~= '' then ask[7], idle_limit_ms = suspect, 0 end
local pending = redis.pcall(unpack(ask))
if pending.err and redis.call('EXISTS', dispatch) == 1 then return { 'no_group', '-' } end
if pending.err or #pending == 0 then return { 'none', '-' } end
local outcome, used = { 'page', '-' }, 6
for _, item in ipairs(pending) do
  local dispatch_id, owner, idle_ms = unpack(item)
  if used + 2 > #ARGV then return outcome end
  if owner ~= runner and idle_ms >= idle_limit_ms then
    local job = (redis.call('XRANGE', dispatch, dispatch_id, dispatch_id)[1] or { nil, {} })[2][2]
    local head = tag .. ':head:' .. (job or '')
    local status, phase, _, sets, known = leasable(tag, head)
    local is_kept = phase ~= 'released' and is_young or phase == 'released' and is_kept_for_another(head, runner, time_ms)
    if status == 'open' and not is_kept then
      local payload = phase == 'released' and ARGV[used + 1] or recovery(head, owner, idle_ms, ARGV[used + 2])
      if not payload then return #outcome > 2 and outcome or redis.error_reply('ERR an event is no JSON object') end
      redis.call('XCLAIM', dispatch, 'runners', runner, 0, dispatch_id, 'JUSTID')
      local epoch, seq, entry = begin_lease(log, head, job, known, runner, dispatch_id, payload, sets)
      outcome[#outcome + 1], used = { job, epoch, seq, entry, dispatch_id, phase == 'released' and '' or owner }, used + 2
    elseif status and status ~= 'open' or redis.pcall('EXISTS', head) == 0 then
      redis.call('XACK', dispatch, 'runners', dispatch_id) redis.call('XDEL', dispatch, dispatch_id)
    end
  end
  outcome[2] = dispatch_id
end
if #pending < PAGE then outcome[2] = '-' end
return outcome
