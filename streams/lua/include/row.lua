--- @include "waiting"
-- Jobs of one queue, priority and user that are about to wait, one behind the other: what their places need is read and
-- written once for all of them.

-- Return the score of the next job of a row.
local function place_next(row, at)
  if not row.first then
    row.first, row.at = next_place(at.order, at.user, at.share), at
    row.step = check_key(at.order, 'zset') and 0 or step_of(at.share)
  end
  return string.format('%d', band_of(at.priority) + row.first + #row.made * row.step)
end

-- Note that a job was made for this place.
local function join_row(row, job, place)
  table.insert(row.made, job)
  for _, list in ipairs({ row.waiting, row.lines[job.at] or {} }) do
    table.insert(list, place)
    table.insert(list, job.name)
    if list ~= row.waiting then row.lines[job.at] = list end
  end
end

-- Let all jobs of the row wait, and count their graphs. Say whether there are any.
local function enter_row(row, keys, queue, time_ms, within_ms)
  if not row.at then return false end
  local graphs, overdue = {}, {}
  for _, job in ipairs(row.made) do
    graphs[job.sha] = (graphs[job.sha] or 0) + 1
    table.insert(overdue, string.format('%d', time_ms + within_ms))
    table.insert(overdue, job.name)
  end
  if row.step > 0 and row.made[2] then redis.call('ZADD', row.at.order, string.format('%d', row.first + #row.made * row.step), 'user ' .. row.at.user) end
  if row.made[1] then redis.call('ZADD', row.at.all, unpack(row.waiting)) redis.call('SADD', keys.queues, queue) end
  for at, list in pairs(row.lines) do
    redis.call('ZADD', at.line, unpack(list))
    redis.call('ZADD', at.lines, redis.call('ZRANGE', at.line, 0, 0, 'WITHSCORES')[2], at.name)
  end
  for sha, count in pairs(graphs) do redis.call('HINCRBY', keys.workflows, sha, count) end
  if within_ms > 0 and row.made[1] then redis.call('ZADD', keys.deadlines, unpack(overdue)) end
  return row.made[1] ~= nil
end
