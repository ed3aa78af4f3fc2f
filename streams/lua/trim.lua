#!lua flags=allow-oom
--[[
  Trim the oldest entries of a partition's log, and the heads of the jobs that end in them. Looks
  at the readers once more: what one of them has not taken stays.

  KEYS[1]  log       STREAM
  KEYS[2]  readers   HASH, registered reader -> {position, required, until_ms}
  KEYS[3]  trimmed   HASH: to, count

  ARGV[1]  hash tag of the partition, from which heads are named
  ARGV[2]  entry id up to which to trim, itself included
  ARGV[3]  most entries to trim in this call

  Returns  {"trimmed", count, entry id}   the last that was trimmed; count 0 = nothing is left to do
           {"held", name}                 a reader or a group has not taken an entry up to there
]]
--- @include "now_ms"
--- @include "precedes"
local log, tag, most = KEYS[1], ARGV[1], tonumber(ARGV[3])
local rows = redis.call('XRANGE', log, '-', ARGV[2], 'COUNT', most)
if #rows == 0 then return { 'trimmed', 0, ARGV[2] } end
local last = rows[#rows][1]
local time_ms, readers = now_ms(), redis.call('HGETALL', KEYS[2])
for i = 1, #readers, 2 do
  local reader = cjson.decode(readers[i + 1])
  local counts = reader.required or reader.until_ms > time_ms
  if counts and precedes(reader.position, last) then return { 'held', readers[i] } end
end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', log)) do
  local facts = {}
  for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
  local first = redis.call('XPENDING', log, facts.name)[2]
  local held = first and not precedes(last, first)
  if held or precedes(facts['last-delivered-id'], last) then return { 'held', facts.name } end
end
for _, row in ipairs(rows) do
  local head = row[2][1] == 'j' and tag .. ':head:' .. row[2][2]
  local status, ended = unpack(head and redis.call('HMGET', head, 'status', 'last') or {})
  if status and status ~= 'open' and ended == row[1] then redis.call('DEL', head) end
end
local ms, counter = string.match(last, '(%d+)-(%d+)')
redis.call('XTRIM', log, 'MINID', '=', ms .. '-' .. string.format('%d', counter + 1))
redis.call('HSET', KEYS[3], 'to', last)
redis.call('HINCRBY', KEYS[3], 'count', #rows)
return { 'trimmed', #rows, last }
