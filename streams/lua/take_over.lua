#!lua
--[[
  Lease jobs whose lease ran out, or whose runner is taken for dead, to another runner. Walks one
  page of the pending entries list from a cursor that the caller keeps, so that none starves.

  KEYS[1]  log        STREAM
  KEYS[2]  dispatch   STREAM of a queue and priority

  ARGV[1]  hash tag of the partition, from which heads are named
  ARGV[2]  runner
  ARGV[3]  idle ms from which a lease counts as run out
  ARGV[4]  cursor: dispatch entry id after which the page begins; '-' = from the start
  ARGV[5]  suspect: only this runner's leases, however fresh; '' = everybody's
  ARGV[6..] two per job at most: `claimed` event for a released job, `recovered` event for an
           orphaned one (its previous_owner, crashes and idle_ms are filled in here)

  Returns  {"none", "-"}              no pending entry after the cursor, or no group
           {"page", cursor, job...}   cursor '-' when the walk is through; a job is
           {job id, epoch, seq, entry id, dispatch entry id}
]]
local log, dispatch, tag, runner = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local idle_limit_ms, cursor, suspect, PAGE = tonumber(ARGV[3]), ARGV[4], ARGV[5], 1000

local ask = { 'XPENDING', dispatch, 'runners', cursor == '-' and '-' or '(' .. cursor, '+', PAGE }
if suspect ~= '' then ask[7], idle_limit_ms = suspect, 0 end
local pending = redis.pcall(unpack(ask))
if pending.err or #pending == 0 then return { 'none', '-' } end

local function lease(job, head, ticket, owner, idle_ms, claimed, recovered)
  local seq, epoch, last, phase = unpack(redis.call('HMGET', head, 'seq', 'epoch', 'last', 'phase'))
  local payload = claimed
  if phase ~= 'released' then
    local event = cjson.decode(recovered)
    event.previous_owner, event.idle_ms = owner, idle_ms
    event.crashes = redis.call('HINCRBY', head, 'crashes', 1)
    payload = cjson.encode(event)
  end
  seq, epoch = seq + 1, epoch + 1
  local entry = redis.call('XADD', log, '*', 'j', job, 's', seq, 'e', epoch, 'p', last, 'd', payload)
  redis.call('HSET', head, 'seq', seq, 'epoch', epoch, 'last', entry, 'owner', runner, 'phase', 'leased')
  return { job, epoch, seq, entry, ticket }
end

local outcome, used = { 'page', '-' }, 5
for _, item in ipairs(pending) do
  local ticket, owner, idle_ms = item[1], item[2], item[3]
  if used + 2 > #ARGV then return outcome end
  if owner ~= runner and idle_ms >= idle_limit_ms then
    local job = (redis.call('XRANGE', dispatch, ticket, ticket)[1] or { nil, {} })[2][2]
    if job and redis.call('HGET', tag .. ':head:' .. job, 'status') == 'open' then
      redis.call('XCLAIM', dispatch, 'runners', runner, 0, ticket, 'JUSTID')
      table.insert(outcome, lease(job, tag .. ':head:' .. job, ticket, owner, idle_ms, unpack(ARGV, used + 1, used + 2)))
      used = used + 2
    else redis.call('XACK', dispatch, 'runners', ticket) redis.call('XDEL', dispatch, ticket) end
  end
  outcome[2] = ticket
end
if #pending < PAGE then outcome[2] = '-' end
return outcome
