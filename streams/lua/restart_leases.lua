#!lua
--[[
  Let every lease of a partition begin anew, as the server's clock was set: one page of them. What
  was released keeps its idle time, which is beyond every limit.

  KEYS[1]  queues  SET of queue names

  ARGV[1]  hash tag of the partition, from which dispatch keys are named
  ARGV[2]  cursor: lane at which the page begins, as "queue:priority"; '' = the first one
  ARGV[3]  cursor: where in that lane to begin, as XPENDING takes it; '' = at its beginning
  ARGV[4]  most leases and lanes to look at, about

  Returns  {"restarted", count, lane, where}   the cursor of the next page; '' and '' at the end
]]
--- @include "check_key"
--- @include "stand_still"
local queues, tag, from, at, left = KEYS[1], ARGV[1], ARGV[2], ARGV[3], whole(ARGV[4])
local why = check_key(queues, 'set', 'SMEMBERS') or check_key(tag .. ':dispatch:', 'stream', 'XPENDING XCLAIM')
  or not (from and at and left) and 'ERR an argument is missing, or the limit is not a whole number' or stand_still(tag)
if why then return redis.error_reply(why) end

local count, lanes = 0, {}
-- Return where to go on in a stream, nil when all its leases were looked at.
local function restart(dispatch, first)
  if check_key(dispatch, 'stream', 'XPENDING XCLAIM') then return nil end
  while left > 0 do
    local pending = redis.pcall('XPENDING', dispatch, 'runners', first, '+', 100)
    for _, item in ipairs(pending) do
      first = '(' .. item[1]
      if item[2] ~= 'released' then
        redis.call('XCLAIM', dispatch, 'runners', item[2], 0, item[1], 'IDLE', 0, 'JUSTID')
        count = count + 1
      end
    end
    left = left - #pending
    if #pending < 100 then return nil end
  end
  return first
end

for _, queue in ipairs(redis.call('SMEMBERS', queues)) do
  for priority in string.gmatch('high normal low', '%a+') do
    local lane = queue .. ':' .. priority
    if lane >= from then table.insert(lanes, lane) end
  end
end
table.sort(lanes)
for _, lane in ipairs(lanes) do
  if left <= 0 then return { 'restarted', count, lane, '-' } end
  local place = restart(tag .. ':dispatch:' .. lane, lane == from and at ~= '' and at or '-')
  if place then return { 'restarted', count, lane, place } end
  left = left - 1
end
return { 'restarted', count, '', '' }
