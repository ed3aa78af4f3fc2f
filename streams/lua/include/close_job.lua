--- @include "job_place"
--- @include "open_job"

-- Return why this user may not take a job in this phase from where it stands, or nil.
local function may_leave(tag, later, phase)
  if phase == 'waiting' then
    return refused('ZADD ZREM ZRANGE', tag .. ':waiting:') or refused('ZADD ZREM ZRANGE', tag .. ':lines:')
      or refused('ZADD ZREM ZRANGE', tag .. ':line:') or refused('HMGET', root_of(tag) .. ':limits')
  end
  return refused('XDEL XACK', tag .. ':dispatch:') or refused('SREM', root_of(tag) .. ':running:')
    or phase == 'later' and (check_key(later, 'zset', 'ZREM') or check_key(tag .. ':blocked', 'zset', 'ZREM')) or nil
end

-- Return why an event with this effect cannot enter a job of a partition, or nil; `at` has its keys, and
-- notes what was asked. Of what an event does not touch nothing is asked, or read. Rights are asked for in the
-- first partition of a call alone: the server has refused it where this user may not write one of its heads,
-- and no right is a matter of the partition.
local asked_for = {}
local function unusable(at, head, job, effect)
  local tag, why = at.tag, nil
  if not at.asked then
    at.asked, why = {}, check_key(at.log, 'stream') or not asked_for.head and (refused('XADD', at.log) or refused('HSET', tag .. ':head:')
      or stand_still(tag)) or nil
    asked_for.head = true
  end
  -- So long only where an author may have to go, see note_author.
  if #(job.authors or '') >= 64 then why = why or refused('HGET HDEL', tag .. ':head:') end
  if why or effect == '' or not job.phase then return why end
  if effect == 'cancel' then return check_key(tag .. ':deadlines', 'zset', 'ZADD') end
  read_job_place(head, job)
  job.needing = redis.pcall('HGET', at.workflows, job.workflow)
  if type(job.needing) == 'table' then return refused('HGET', at.workflows) or check_key(at.workflows, 'hash') or job.needing.err end
  if asked_for[job.phase] and (job.phase ~= 'later' or at.asked.later) then return nil end
  asked_for[job.phase], at.asked[job.phase] = true, true
  return refused('HINCRBY HDEL', at.workflows) or refused('PEXPIRE', tag .. ':workflow:') or refused('PEXPIRE', tag .. ':partner_keys:')
    or may_leave(tag, at.later, job.phase)
end

-- Return where an open job that closes stands, and the sets that it is in; or nil, nil and why it cannot.
local function closing(tag, job)
  if not whole(job.needing or '0') then return nil, nil, 'its graph is not counted by a number' end
  return job_place(tag, job)
end

-- Close a job: it leaves its place, its graph has one open job less, its partner keys go. What the head is
-- to say is in `job`.
local function close_job(tag, workflows, head, name, job, status, kept_ms, at, sets)
  leave_place(tag, at, sets, head, name, job)
  -- The last job of a graph, as usual, is the only one that changes its count.
  if job.needing == '1' or redis.call('HINCRBY', workflows, job.workflow, -1) <= 0 then
    redis.call('HDEL', workflows, job.workflow)
    redis.call('PEXPIRE', tag .. ':workflow:' .. job.workflow, kept_ms)
  end
  redis.call('PEXPIRE', tag .. ':partner_keys:' .. name .. ':' .. job.made_by, 0)
  job.status, job.phase = status, 'closed'
end
