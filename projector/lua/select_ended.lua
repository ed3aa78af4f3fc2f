#!lua flags=no-writes
--[[
  Select jobs that have ended by their names, the newest ones, without looking at many others.

  KEYS[1]  projector  HASH: which indexes are complete
  KEYS[2]  index      ZSET, jobs by their names, see index_jobs.lua

  ARGV[1]  MessagePack: array of indexes that must be complete; array of groups of names
  ARGV[2]  newest time, Unix ms
  ARGV[3]  job id, only lesser ones of that time; '' = all of that time
  ARGV[4]  oldest time, Unix ms
  ARGV[5]  jobs to select, for each name of the smallest group
  ARGV[6]  jobs to look at, for each name of the smallest group

  Returns  {"incomplete"}  the index does not have all jobs
           {"selected", n, ms, job id, ..., ms, job id, ...}  first n jobs: after each of them may be
                           more, which are older or lesser; then those that were selected
]]
--- @include "index_groups"
local index, wanted, groups = KEYS[2], unpack(cmsgpack.unpack(ARGV[1]))
local before, most, looks = ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6])
local why = refused('HGET', KEYS[1]) or refused('ZLEXCOUNT ZREVRANGEBYLEX ZSCORE', index)
if why then return redis.error_reply(why) end
if not is_complete(KEYS[1], wanted) then return { 'incomplete' } end
local newest, oldest = string.format('\ne%016.0f', ARGV[2]), string.format('\ne%016.0f', ARGV[4])
local group, stops, selected = smallest(index, groups, oldest, newest .. '\11'), {}, {}

local function select_by(name)
  local last = '(' .. name .. newest .. (before ~= '' and '\n' .. before or '\11')
  local count, looked, page = 0, 0, nil
  repeat
    page = redis.call('ZREVRANGEBYLEX', index, last, '[' .. name .. oldest, 'LIMIT', 0, 100)
    for _, member in ipairs(page) do
      local at, job = string.sub(member, #name + 1, #name + 19), string.sub(member, #name + 20)
      looked, last = looked + 1, '(' .. member
      if fits(index, groups, group, at, job) then
        count = count + 1
        table.insert(selected, string.sub(at, 3, 18)) table.insert(selected, job)
      end
      if count == most or looked == looks then
        table.insert(stops, string.sub(at, 3, 18)) table.insert(stops, job)
        return
      end
    end
  until #page < 100
end
for _, name in ipairs(group) do select_by(name) end
local outcome = { 'selected', #stops / 2 }
for _, text in ipairs(stops) do table.insert(outcome, text) end
for _, text in ipairs(selected) do table.insert(outcome, text) end
return outcome
