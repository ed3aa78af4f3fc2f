#!lua flags=no-writes
--[[
  Select open jobs by their names, the newest ones, without looking at many others.
  KEYS[1]  projector  HASH: which indexes are complete
  KEYS[2]  active     ZSET, open jobs by last event time
  KEYS[3]  index      ZSET, jobs by their names, see index_jobs.lua
  ARGV[1]  MessagePack: array of indexes that must be complete; array of groups of names
  ARGV[2]  newest time, Unix ms
  ARGV[3]  1 = jobs of just that time are not counted, because an earlier page may have had them
  ARGV[4]  oldest time, Unix ms
  ARGV[5]  jobs to select; all of one time are selected together
  ARGV[6]  jobs to look at, about

  Returns  {"incomplete"}  the index does not have all jobs
           {"selected", stop, ms, job id, ...}  there may be more that are older than `stop`, Unix ms;
                           '' = these are all
]]
--- @include "index_groups"
local active, index, wanted, groups = KEYS[2], KEYS[3], unpack(cmsgpack.unpack(ARGV[1]))
local newest, oldest, most, looks = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local why = refused('HGET', KEYS[1]) or refused('ZREVRANGEBYSCORE ZSCORE ZCARD', active) or refused('ZLEXCOUNT ZRANGEBYLEX', index)
if why then return redis.error_reply(why) end
if not is_complete(KEYS[1], wanted) then return { 'incomplete' } end
local outcome, count, looked, last = { 'selected', '' }, 0, 0, nil

-- Return false where enough was selected: only at a change of the time.
local function take(ms, job, known)
  local is_enough = last and ms ~= last and (count >= most or looked >= looks)
  if is_enough then outcome[2] = string.format('%.0f', last) return false end
  last, looked = ms, looked + 1
  if not fits(index, groups, known, '\no\n', job) then return true end
  if ARGV[3] ~= '1' or ms < newest then count = count + 1 end
  table.insert(outcome, string.format('%.0f', ms)) table.insert(outcome, job)
  return true
end
local group, number = smallest(index, groups, '\no\n', '\no\11')
-- Where the names are of many, those that are wanted are soon met among all open jobs.
local is_rare = number <= looks and number * number <= most * redis.call('ZCARD', active)
if is_rare then
  local rows = {}
  for _, name in ipairs(group) do
    for _, member in ipairs(redis.call('ZRANGEBYLEX', index, '[' .. name .. '\no\n', '(' .. name .. '\no\11')) do
      local job = string.sub(member, #name + 4)
      local ms = tonumber(redis.call('ZSCORE', active, job) or nil)
      if ms and ms <= newest and ms >= oldest then table.insert(rows, { ms, job }) end
    end
  end
  table.sort(rows, function(a, b) return a[1] > b[1] end)
  for _, row in ipairs(rows) do if not take(row[1], row[2], group) then break end end
  return outcome
end
local offset, page, at_once = 0, nil, math.max(20, math.min(200, 2 * most))
repeat
  page = redis.call('ZREVRANGEBYSCORE', active, ARGV[2], ARGV[4], 'WITHSCORES', 'LIMIT', offset, at_once)
  for i = 1, #page, 2 do if not take(tonumber(page[i + 1]), page[i], nil) then return outcome end end
  offset = offset + at_once
until #page < 2 * at_once
return outcome
