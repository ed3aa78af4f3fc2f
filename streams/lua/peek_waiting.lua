#!lua flags=no-writes
--[[
  Look at the jobs of one queue that wait in some partitions of one slot, or of one server, first those
  that stand first. Writes nothing.

  KEYS[1..]  two for each partition:
             lines    ZSET, line by the place of its first job
             waiting  ZSET of all jobs of the queue by place
  ARGV[1]    queue; of a paused one no line is told
  ARGV[2]    most lines of a partition to look at
  ARGV[3]    most jobs of each line
  ARGV[4..]  rank of the line with which to begin in each partition, from 0

  Returns  {"waiting", partition...} in the order of KEYS; a partition is {count, next rank or 0, line...}
           count = all that wait; a line is {name, job, place, job, place...}
]]
--- @include "check_key"
--- @include "root"
local queue, most, each, outcome = ARGV[1], whole(ARGV[2]), whole(ARGV[3]), { 'waiting' }
if not (most and each) or #ARGV ~= 3 + #KEYS / 2 then return redis.error_reply('ERR a number is not a whole one') end

-- What cannot be read is looked at more closely only then.
local function ask(...) local reply = redis.pcall(...)
  return reply, type(reply) == 'table' and reply.err
end

local paused, is_paused
for at = 1, #KEYS, 2 do
  local lines, waiting, from, tag = KEYS[at], KEYS[at + 1], whole(ARGV[3 + (at + 1) / 2]), tag_of(KEYS[at])
  local line, why = tag .. ':line:' .. queue .. ':', not from and 'ERR a rank is not a whole number' or nil
  if paused ~= root_of(tag) .. ':paused' then -- in the shared layout it is one key
    paused = root_of(tag) .. ':paused'
    why = why or refused('TYPE HEXISTS', paused)
    is_paused = not why and not check_key(paused, 'hash') and redis.call('HEXISTS', paused, queue) == 1
  end
  if why then return redis.error_reply(why) end
  local count, no_count = ask('ZCARD', waiting)
  local names, no_names = ask('ZRANGE', lines, from, from + most - 1)
  why = no_count and (check_key(waiting, 'zset', 'ZCARD') or no_count) or no_names and (check_key(lines, 'zset', 'ZRANGE') or no_names)
  if why then return redis.error_reply(why) end
  if is_paused then names = {} end
  local partition = { count, #names < most and 0 or from + most }
  for _, name in ipairs(names) do
    local found, no_line = ask('ZRANGE', line .. name, 0, each - 1, 'WITHSCORES')
    why = no_line and refused('ZRANGE', line .. name)
    if why then return redis.error_reply(why) end
    if found[1] then table.insert(found, 1, name) table.insert(partition, found) end
  end
  table.insert(outcome, partition)
end
return outcome
