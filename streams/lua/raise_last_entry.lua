#!lua
--[[
  Give no new entry of a log an id up to this one, which somebody may have read before the server lost it: by a
  clock that is behind, what comes would else stand before what readers have seen.

  KEYS[1]  log  STREAM
  ARGV[1]  entry id

  Returns  {"raised"}   new entries follow this id      {"later"}   they did already, or there is no log
]]
--- @include "check_key"
--- @include "precedes"
local log, entry_id = KEYS[1], ARGV[1]
local why = check_key(log, 'stream', 'XINFO|STREAM XSETID') or not is_entry_id(entry_id) and 'ERR that is no entry id'
if why then return redis.error_reply(why) end
if redis.call('TYPE', log).ok == 'none' then return { 'later' } end
local facts = redis.call('XINFO', 'STREAM', log)
for i = 1, #facts, 2 do
  if facts[i] == 'last-generated-id' and not precedes(facts[i + 1], entry_id) then return { 'later' } end
end
redis.call('XSETID', log, entry_id)
return { 'raised' }
