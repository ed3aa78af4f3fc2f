#!lua flags=no-writes
--[[
  Count the jobs that wait in some queues of one partition, by priority. Writes nothing.

  KEYS[1..]  waiting  ZSET, of each queue: its jobs by place

  ARGV[1]  hash tag of the partition

  Returns  {"measured", queue...}   a queue is {} where nothing waits, else count and entry id of the
           submit of the first job, '' where that is not known, of high, of normal and of low
]]
--- @include "check_key"
--- @include "places"
local heads = ARGV[1] .. ':head:'
local why = refused('HGET', heads) or refused('TYPE ZCARD ZCOUNT ZRANGEBYSCORE', KEYS[1])
if why then return redis.error_reply(why) end
local normal, low = string.format('%d', band_of('normal')), string.format('%d', band_of('low'))
local from, to = { '-inf', normal, low }, { '(' .. normal, '(' .. low, '+inf' }
local outcome = { 'measured' }
for i = 1, #KEYS do
  local waiting, found = KEYS[i], {}
  if redis.call('TYPE', waiting).ok == 'zset' then
    local counts = { redis.call('ZCOUNT', waiting, from[1], to[1]), 0, redis.call('ZCOUNT', waiting, from[3], to[3]) }
    counts[2] = redis.call('ZCARD', waiting) - counts[1] - counts[3]
    for band, count in ipairs(counts) do
      local first = count > 0 and redis.call('ZRANGEBYSCORE', waiting, from[band], to[band], 'LIMIT', 0, 1)[1]
      local submitted = first and redis.pcall('HGET', heads .. first, 'first')
      table.insert(found, count)
      table.insert(found, type(submitted) == 'string' and submitted or '')
    end
  end
  table.insert(outcome, found)
end
return outcome
