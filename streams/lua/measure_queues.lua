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
local why = refused('TYPE HGET', heads)
if why then return redis.error_reply(why) end
local bounds = { '-inf', string.format('%d', band_of('normal')), string.format('%d', band_of('low')), '+inf' }
local outcome = { 'measured' }
for i = 1, #KEYS do
  local waiting, found = KEYS[i], {}
  if not check_key(waiting, 'zset', 'ZCARD ZCOUNT ZRANGEBYSCORE') and redis.call('ZCARD', waiting) > 0 then
    for band = 1, 3 do
      local from, to = bounds[band], band < 3 and '(' .. bounds[band + 1] or '+inf'
      local count = redis.call('ZCOUNT', waiting, from, to)
      local first = count > 0 and redis.call('ZRANGEBYSCORE', waiting, from, to, 'LIMIT', 0, 1)[1]
      local head = first and heads .. first
      table.insert(found, count)
      table.insert(found, head and not check_key(head, 'hash') and redis.call('HGET', head, 'first') or '')
    end
  end
  table.insert(outcome, found)
end
return outcome
