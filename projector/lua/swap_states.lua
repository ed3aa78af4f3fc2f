#!lua
--[[
  Put the rebuilt states of a user's projection in the place of the live ones, in one partition, at
  once. The owner of the live ones loses them and begins anew from the new checkpoint.

  KEYS[1]  projector  HASH, live: owner, owned until, checkpoint, folded
  KEYS[2]  states     HASH, live
  KEYS[3]  parked     HASH, live
  KEYS[4]  projector  HASH, rebuilt
  KEYS[5]  states     HASH, rebuilt
  KEYS[6]  parked     HASH, rebuilt

  ARGV[1]  token of the rebuild

  Returns  {"swapped"}
           {"not_owner", owner}      another rebuild is at work; nothing was changed
           {"behind", checkpoint}    the live projection is further; nothing was changed
]]
local live, rebuilt = KEYS[1], KEYS[4]

local function order(entry_id)
  local ms, counter = string.match(entry_id, '(%d+)-(%d+)')
  return tonumber(ms), tonumber(counter)
end

local owner, checkpoint, folded = unpack(redis.call('HMGET', rebuilt, 'owner', 'checkpoint', 'folded'))
if owner ~= ARGV[1] then return { 'not_owner', owner or '' } end
local live_at = redis.call('HGET', live, 'checkpoint') or '0-0'
local ms, counter = order(checkpoint or '0-0')
local live_ms, live_counter = order(live_at)
if ms < live_ms or (ms == live_ms and counter < live_counter) then return { 'behind', live_at } end

local function move(from, to)
  redis.call('UNLINK', to)
  if redis.call('EXISTS', from) == 1 then redis.call('RENAME', from, to) end
end
move(KEYS[5], KEYS[2]) move(KEYS[6], KEYS[3])
redis.call('HSET', live, 'checkpoint', checkpoint or '0-0', 'folded', folded or 0, 'owner', '', 'until_ms', 0)
redis.call('DEL', rebuilt)
return { 'swapped' }
