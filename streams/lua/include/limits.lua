--- @include "check_key"
-- Return limits by their fields. A key of another type is no limit: doctor names it, and jobs go on.
local function read_limits(tag, ...)
  local key = string.match(tag, '^{(.*):%d+}$') .. ':limits'
  return unpack(check_key(key, 'hash') and {} or redis.call('HMGET', key, ...))
end

-- Return how many jobs of a queue wait, in all partitions, and how many may; nil where any number may.
local function count_waiting(tag, queue, partitions)
  local ns, count = string.match(tag, '^{(.*):%d+}$'), 0
  local own, any = read_limits(tag, 'waiting queue ' .. queue, 'waiting queue *')
  local limit = whole(own or any)
  for partition = 0, limit and math.min(whole(partitions) or 0, 1024) - 1 or -1 do
    local waiting = '{' .. ns .. ':' .. partition .. '}:waiting:' .. queue
    if not check_key(waiting, 'zset', 'ZCARD') then count = count + redis.call('ZCARD', waiting) end
  end
  return limit and count, limit
end
