--- @include "check_key"
--- @include "limits"
--- @include "places"
-- A job that waits stands in two sorted sets by its place, with all of its queue and with those of its
-- line; `lines` has each line by the place of its first job. A line holds jobs that can be taken, or
-- cannot, together: of the same needs, and of one user or kind where there are limits for these.

-- Return where a job waits, or nil and why those keys cannot be used. `job` has queue, priority, needs,
-- user and kind; `line` is where it stands already. Rights are checked before: see check_rights.
local function waiting_place(tag, job, line)
  local queue, user, kind = job.queue, job.user or '', job.kind or ''
  local at = { all = tag .. ':waiting:' .. queue, lines = tag .. ':lines:' .. queue, user = user,
    order = root_of(tag) .. ':order:' .. queue .. ':' .. job.priority, name = line,
    priority = job.priority, dispatch = tag .. ':dispatch:' .. queue .. ':' .. job.priority }
  local share, users, one_user, kinds, one_kind = read_limits(tag, 'share user ' .. user,
    'running user *', 'running user ' .. user, 'running kind *', 'running kind ' .. kind)
  at.share = share
  if not at.name then
    at.name = job.needs and job.needs ~= '' and job.needs or '-'
    if user ~= '' and (users or one_user) then at.name = at.name .. ' user ' .. user end
    if kind ~= '' and (kinds or one_kind) then at.name = at.name .. ' kind ' .. kind end
  end
  at.line = tag .. ':line:' .. queue .. ':' .. at.name
  local why = check_key(at.all, 'zset') or check_key(at.lines, 'zset') or check_key(at.line, 'zset')
  if why then return nil, why end
  return at
end

-- Return the same for what a head says, which may be anything.
local function known_place(tag, job, line)
  local is_whole = job.queue and (job.priority == 'high' or job.priority == 'normal' or job.priority == 'low')
  if not is_whole then return nil, 'ERR the head of a job has no queue or priority' end
  return waiting_place(tag, job, line)
end

-- Return the same for a job that is known by its head.
local function waiting_at(tag, head, line)
  local why = check_key(head, 'hash', 'HMGET')
  if why then return nil, why end
  local queue, priority, needs, user, kind = unpack(redis.call('HMGET', head, 'queue', 'priority', 'needs', 'user', 'kind'))
  return known_place(tag, { queue = queue, priority = priority, needs = needs, user = user, kind = kind }, line)
end

-- Let an open job wait for a runner, at the place that it had before or behind its user's others.
local function enter_waiting(at, head, job, place)
  place = whole(place) and place or string.format('%d', band_of(at.priority) + next_place(at.order, at.user, at.share))
  redis.call('ZADD', at.all, place, job)
  redis.call('ZADD', at.line, place, job)
  redis.call('ZADD', at.lines, redis.call('ZRANGE', at.line, 0, 0, 'WITHSCORES')[2], at.name)
  redis.call('HSET', head, 'phase', 'waiting', 'dispatch', '', 'place', place, 'line', at.name)
end

local function leave_waiting(at, job)
  redis.call('ZREM', at.all, job)
  redis.call('ZREM', at.line, job)
  local first = redis.call('ZRANGE', at.line, 0, 0, 'WITHSCORES')
  if first[1] then redis.call('ZADD', at.lines, first[2], at.name) else redis.call('ZREM', at.lines, at.name) end
end
