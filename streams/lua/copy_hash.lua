#!lua
--[[
  Compare a copy of a hash with what the original holds, or make it so.
  KEYS[1]  copy  HASH
  ARGV[1]  SHA-1 of what it must hold: fields in order, each with its value, the bytes 0 between all
  ARGV[2]  'whole' where all of it follows, to be written; without it the copy is only compared
  ARGV[3..] fields and values

  Returns  {"same"}
           {"other"}   nothing was written
           {"copied"}
]]
--- @include "check_key"
--- @include "stand_still"
local copy, digest = KEYS[1], ARGV[1]
local why = refused('TYPE HGETALL HSET DEL', copy) or #ARGV > 1 and #ARGV % 2 ~= 0 and 'ERR an argument is missing' or stand_still(tag_of(KEYS[1]))
if why then return redis.error_reply(why) end
if ARGV[2] == 'whole' then
  redis.call('DEL', copy)
  for i = 3, #ARGV, 1000 do redis.call('HSET', copy, unpack(ARGV, i, math.min(i + 999, #ARGV))) end
  return { 'copied' }
end
if check_key(copy, 'hash') then return { 'other' } end
local found, names, texts = {}, {}, {}
local flat = redis.call('HGETALL', copy)
for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] table.insert(names, flat[i]) end
table.sort(names)
for _, name in ipairs(names) do table.insert(texts, name) table.insert(texts, found[name]) end
return { redis.sha1hex(table.concat(texts, '\0')) == digest and 'same' or 'other' }
