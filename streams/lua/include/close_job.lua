--- @include "job_place"
--- @include "open_job"

-- Return why this user may not close jobs of this partition, or nil.
local function may_close(tag, later, workflows)
  return check_key(later, 'zset', 'ZREM') or check_key(workflows, 'hash', 'HGET HINCRBY HDEL') or check_key(tag .. ':blocked', 'zset', 'ZREM')
    or refused('XDEL XACK', tag .. ':dispatch:') or refused('PEXPIRE', tag .. ':workflow:') or refused('PEXPIRE', tag .. ':partner_keys:')
    or check_rights(tag, 'ZADD ZREM ZRANGE', '', 'SREM')
end

-- Return what is touched when an open job closes, or nil and why it cannot be.
local function closing(tag, workflows, head, name, job)
  read_job_place(head, job)
  local at, sets, damage = job_place(tag, job)
  local graph = tag .. ':workflow:' .. job.workflow
  local keys = tag .. ':partner_keys:' .. name .. ':' .. (redis.call('HGET', head, 'made_by') or '')
  damage = damage or not whole(redis.call('HGET', workflows, job.workflow) or '0') and 'its graph is not counted by a number'
    or check_key(graph, 'string') or check_key(keys, 'string')
  return not damage and { at = at, sets = sets, graph = graph, keys = keys } or nil, damage
end

-- Close a job: it leaves its place, its graph has one open job less, its partner keys go.
local function close_job(tag, workflows, head, name, job, touched, status, kept_ms)
  leave_place(tag, touched.at, touched.sets, head, name, job)
  if redis.call('HINCRBY', workflows, job.workflow, -1) <= 0 then
    redis.call('HDEL', workflows, job.workflow)
    redis.call('PEXPIRE', touched.graph, kept_ms)
  end
  redis.call('PEXPIRE', touched.keys, 0)
  redis.call('HSET', head, 'status', status, 'phase', 'closed')
end

-- Return why an event with this effect cannot enter a partition, or nil; `at` has its keys, and notes
-- what was asked. Most events have no effect: of what these do not touch nothing is asked.
local function unusable(tag, at, effect)
  if at[effect] then return nil end
  at[effect] = true
  if effect == '' then return check_key(at.log, 'stream', 'XADD') or refused('HMGET HGET HSET HDEL', tag .. ':head:') or stand_still(tag) end
  return unusable(tag, at, '') or effect == 'cancel' and check_key(tag .. ':deadlines', 'zset', 'ZADD')
    or effect ~= 'cancel' and may_close(tag, at.later, at.workflows) or nil
end
