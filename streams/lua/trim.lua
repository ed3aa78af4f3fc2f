#!lua flags=allow-oom
--[[
  Trim the oldest entries of a partition's log, and the heads of the jobs that end in them. Looks
  at the readers once more: what one of them has not taken stays, as does what an open job needs.
  KEYS[1]  log       STREAM
  KEYS[2]  readers   HASH, registered reader -> {position, required, until_ms}
  KEYS[3]  trimmed   HASH: to, count
  ARGV[1]  hash tag of the partition, from which heads are named
  ARGV[2]  entry id up to which to trim, itself included      ARGV[3]  most entries

  Returns  {"trimmed", count, entry id}   the last that was trimmed; count 0 = nothing is left to do
           {"open", count}                the next entry is of a job that has not ended
           {"held", name}                 a reader or a group has not taken an entry up to there
]]
--- @include "check_key"
--- @include "now_ms"
--- @include "precedes"
--- @include "stand_still"
local log, tag, most = KEYS[1], ARGV[1], whole(ARGV[3])
local why = check_key(log, 'stream', 'XRANGE XINFO|GROUPS XPENDING XTRIM') or check_key(KEYS[2], 'hash', 'HGETALL')
  or check_key(KEYS[3], 'hash', 'HGET HSET HINCRBY') or check_key(tag .. ':head:', 'hash', 'HMGET DEL') or stand_still(tag)
  or not whole(redis.call('HGET', KEYS[3], 'count') or '0') and 'ERR the count is not a whole number'
if why then return redis.error_reply(why) end
local rows = redis.call('XRANGE', log, '-', ARGV[2], 'COUNT', most)
if #rows == 0 then return { 'trimmed', 0, ARGV[2] } end
-- Return status, last entry and head of an entry's job; a broken head counts as an open job.
local function job_of(row)
  local head = row[2][1] == 'j' and tag .. ':head:' .. row[2][2]
  if not head or check_key(head, 'hash') then return head and 'open' end
  local status, last, phase = unpack(redis.call('HMGET', head, 'status', 'last', 'phase'))
  return (phase ~= 'replayed' or status ~= 'open') and status, last, head
end
local outcome, ended = { 'trimmed' }, {}
for i, row in ipairs(rows) do
  local status, last_entry, head = job_of(row)
  if status == 'open' then outcome = { 'open' } for j = i, #rows do rows[j] = nil end break end
  if status and last_entry == row[1] then table.insert(ended, head) end
end
if #rows == 0 then return { 'open', 0 } end
local time_ms, readers, last = now_ms(), redis.call('HGETALL', KEYS[2]), rows[#rows][1]
for i = 1, #readers, 2 do
  local is_json, reader = pcall(cjson.decode, readers[i + 1])
  local known = is_json and type(reader) == 'table' and string.match(tostring(reader.position), '^%d+%-%d+$')
  local counts = not known or reader.required or (tonumber(reader.until_ms) or 0) > time_ms
  if counts and not (known and not precedes(known, last)) then return { 'held', readers[i] } end
end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', log)) do
  local facts = {}
  for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
  local first = redis.call('XPENDING', log, facts.name)[2]
  if first and not precedes(last, first) or precedes(facts['last-delivered-id'], last) then return { 'held', facts.name } end
end
for _, head in ipairs(ended) do redis.call('DEL', head) end
local ms, counter = string.match(last, '(%d+)-(%d+)')
redis.call('XTRIM', log, 'MINID', '=', ms .. '-' .. string.format('%d', counter + 1))
redis.call('HSET', KEYS[3], 'to', last)
redis.call('HINCRBY', KEYS[3], 'count', #rows)
outcome[2], outcome[3] = #rows, last
return outcome
