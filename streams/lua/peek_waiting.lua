#!lua flags=no-writes
--[[
  Look at the jobs of one queue and partition that wait, first those that stand first. Writes nothing.

  KEYS[1]  lines    ZSET, line by the place of its first job
  KEYS[2]  waiting  ZSET of all jobs of the queue by place
  KEYS[3]  paused   HASH of paused queues
  ARGV[1]  start of the keys of lines: a line's key is this and its name
  ARGV[2]  rank of the line with which to begin, from 0
  ARGV[3]  most lines to look at
  ARGV[4]  most jobs of each
  ARGV[5]  queue; of a paused one no line is told

  Returns  {"waiting", count, next rank or 0, line...}   count = all that wait; a line is
           {name, job, place, job, place...}
]]
--- @include "check_key"
local lines, waiting, root, from, most, each = KEYS[1], KEYS[2], ARGV[1], whole(ARGV[2]), whole(ARGV[3]), whole(ARGV[4])
local why = check_key(lines, 'zset', 'ZRANGE') or check_key(waiting, 'zset', 'ZCARD') or refused('ZRANGE', root) or refused('TYPE HEXISTS', KEYS[3])
  or not (from and most and each and ARGV[5]) and 'ERR a number is not a whole one'
if why then return redis.error_reply(why) end
local is_paused = not check_key(KEYS[3], 'hash') and redis.call('HEXISTS', KEYS[3], ARGV[5]) == 1
local names = is_paused and {} or redis.call('ZRANGE', lines, from, from + most - 1)
local outcome = { 'waiting', redis.call('ZCARD', waiting), #names < most and 0 or from + most }
for _, name in ipairs(names) do
  local line = root .. name
  local found = check_key(line, 'zset') and {} or redis.call('ZRANGE', line, 0, each - 1, 'WITHSCORES')
  if found[1] then table.insert(found, 1, name) table.insert(outcome, found) end
end
return outcome
