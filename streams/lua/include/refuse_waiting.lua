--- @include "limits"
-- Return why no further job may wait in a queue, as an outcome, or nil. In the spread layout a script
-- cannot count the jobs of all partitions: the caller does that first, and what it found counts up to a time.
local function refuse_waiting(tag, queue, partitions, found_until_ms, time_ms)
  local ns, count = namespace_of(tag), 0
  local own, any = read_limits(tag, 'waiting queue ' .. queue, 'waiting queue *')
  local limit = whole(own) or whole(any)
  if not limit then return nil end
  if not ns then return (whole(found_until_ms) or 0) < time_ms and { 'limited', limit, time_ms } or nil end
  for partition = 0, math.min(whole(partitions) or 0, 1024) - 1 do
    local waiting = '{' .. ns .. ':' .. partition .. '}:waiting:' .. queue
    if not check_key(waiting, 'zset', 'ZCARD') then count = count + redis.call('ZCARD', waiting) end
  end
  if count >= limit then return { 'full', count, limit } end
end
