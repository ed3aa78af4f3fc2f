--- @include "check_key"

-- Jobs are selected by groups of names: a job has one name of each group.

-- Say whether the index of a partition is complete: its projector's field has all of these words.
local function is_complete(projector, wanted)
  local complete = ' ' .. (redis.call('HGET', projector, 'indexes') or '') .. ' '
  for _, word in ipairs(wanted) do
    if not string.find(complete, ' ' .. word .. ' ', 1, true) then return false end
  end
  return true
end

-- Return the group with the fewest members between two texts after its names, and how many.
local function smallest(index, groups, first, last)
  local best, least = nil, math.huge
  for _, group in ipairs(groups) do
    local count = 0
    for _, name in ipairs(group) do
      count = count + redis.call('ZLEXCOUNT', index, '[' .. name .. first, '(' .. name .. last)
    end
    if count < least then best, least = group, count end
  end
  return best, least
end

-- Say whether a job has a name of each group but the one that is known. `at` is what stands between
-- a name and the job id.
local function fits(index, groups, known, at, job)
  for _, group in ipairs(groups) do
    local has = group == known
    for _, name in ipairs(group) do has = has or redis.call('ZSCORE', index, name .. at .. job) end
    if not has then return false end
  end
  return true
end
