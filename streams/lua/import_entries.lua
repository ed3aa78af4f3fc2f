#!lua
--[[
  Add entries of another log with their ids, and what the heads of their jobs hold after them.
  Entries that are there already, from an import that was interrupted, are left as they are. So is
  the head of their jobs: runners may work on those by now.

  KEYS[1]  log  STREAM of a partition

  ARGV[1]  hash tag of the partition, from which heads are named
  ARGV[2]  MessagePack, for each job in them: job id; array of fields and values of its head
  ARGV[3..] six per entry, in order: id; job id; seq; epoch; entry id of the job's previous; payload

  Returns  {"imported", count}
           {"stale", entry id}   the log goes on beyond an entry that it does not have
           {"odd", entry id}     no entry has this id, or it is not in order; nothing was written
]]
--- @include "precedes"
--- @include "append_entry"
--- @include "check_key"
--- @include "stand_still"
local log, tag, heads = KEYS[1], ARGV[1], cmsgpack.unpack(ARGV[2])
local why = check_key(log, 'stream', 'XADD XRANGE XINFO|STREAM') or #ARGV % 6 ~= 2 and 'ERR an argument is missing' or stand_still(tag)
for _, head in ipairs(heads) do why = why or check_key(tag .. ':head:' .. head[1], 'hash', 'HSET') end
if why then return redis.error_reply(why) end
local facts, todo, last = redis.pcall('XINFO', 'STREAM', log), {}, '0-0'
for i = 1, #facts, 2 do if facts[i] == 'last-generated-id' then last = facts[i + 1] end end

for i = 3, #ARGV, 6 do
  local before = todo[#todo] and ARGV[todo[#todo]] or last
  local ms, counter = string.match(ARGV[i], '^(%d+)-(%d+)$')
  if not (whole(ms) and whole(counter)) or i > 3 and not precedes(ARGV[i - 6], ARGV[i]) then return { 'odd', ARGV[i] } end
  if precedes(before, ARGV[i]) then table.insert(todo, i)
  elseif #redis.call('XRANGE', log, ARGV[i], ARGV[i]) == 0 then return { 'stale', ARGV[i] } end
end
for _, i in ipairs(todo) do
  append_entry(log, unpack(ARGV, i, i + 5))
end
for _, head in ipairs(#todo > 0 and heads or {}) do
  redis.call('HSET', tag .. ':head:' .. head[1], unpack(head[2]))
end
return { 'imported', #todo }
