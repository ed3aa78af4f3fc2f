--- @include "append_entry"
--- @include "check_key"
--- @include "waiting"

-- Return why this user may not make jobs in a partition, or nil. `keys` are its log, workflows, later,
-- deadlines and queues.
local function may_submit(tag, keys)
  return check_rights(tag, 'ZADD ZRANGE', 'ZSCORE ZADD', '') or check_key(keys.log, 'stream', 'XADD') or check_key(keys.workflows, 'hash', 'HGET HINCRBY')
    or check_key(keys.later, 'zset', 'ZADD') or check_key(keys.deadlines, 'zset', 'ZADD') or check_key(keys.queues, 'set', 'SADD')
end

-- Write the first event, the head and the graph, where it is not '', of a job that is not known; return the
-- entry's id. `job` has what submit.lua is given of it, `...` are further fields of the head.
local function make_job(tag, log, head, job, phase, ...)
  local entry = append_entry(log, '*', job.name, 1, 0, '0-0', job.payload)
  redis.call('HSET', head, 'seq', 1, 'epoch', 0, 'status', 'open', 'phase', phase, 'owner', '', 'workflow', job.sha,
    'queue', job.queue, 'priority', job.priority, 'needs', job.needs, 'user', job.user, 'kind', job.kind,
    'dispatch', '', 'first', entry, 'last', entry, 'made_by', job.event_id, 'recent', '', ...)
  if job.graph ~= '' then redis.call('SET', tag .. ':workflow:' .. job.sha, job.graph) end
  return entry
end
