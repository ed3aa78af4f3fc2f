#!lua
--[[
  Add entries of another log with their ids, and what the heads of their jobs hold after them.
  Entries that are there already, from an import that was interrupted, are left as they are.

  KEYS[1]  log  STREAM of a partition

  ARGV[1]  hash tag of the partition, from which heads are named
  ARGV[2]  MessagePack, for each job in them: job id; array of fields and values of its head
  ARGV[3..] six per entry, in order: id; job id; seq; epoch; entry id of the job's previous; payload

  Returns  {"imported", count}
           {"stale", entry id}   the log goes on beyond an entry that it does not have
]]
--- @include "precedes"
--- @include "append_entry"
--- @include "check_key"
local log, tag, heads = KEYS[1], ARGV[1], cmsgpack.unpack(ARGV[2])
local why = check_key(log, 'stream', 'XADD')
for _, head in ipairs(heads) do why = why or check_key(tag .. ':head:' .. head[1], 'hash', 'HSET') end
if why then return redis.error_reply(why) end
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]

local todo = {}
for i = 3, #ARGV, 6 do
  local is_there = last and not precedes(last[1], ARGV[i])
  if not is_there then table.insert(todo, i)
  elseif #redis.call('XRANGE', log, ARGV[i], ARGV[i]) == 0 then return { 'stale', ARGV[i] } end
end
for _, i in ipairs(todo) do
  append_entry(log, unpack(ARGV, i, i + 5))
end
for _, head in ipairs(heads) do
  redis.call('HSET', tag .. ':head:' .. head[1], unpack(head[2]))
end
return { 'imported', #todo }
