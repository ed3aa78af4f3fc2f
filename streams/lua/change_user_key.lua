#!lua
--[[
  Store the key of a user, unless another one is there by now.
  KEYS[1]  user_keys  HASH, digest of a user -> the user's key, wrapped
  ARGV[1]  digest of the user
  ARGV[2]  what must be stored there; '' = nothing
  ARGV[3]  what is to be stored

  Returns  {"changed"}
           {"other", value}  something else is there; nothing was written
           {"gone"}          the key was thrown away; nothing was written
]]
--- @include "check_key"
local keys, digest, expected, new = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local why = check_key(keys, 'hash', 'HGET HSET') or not new and 'ERR an argument is missing'
if why then return redis.error_reply(why) end
local found = redis.call('HGET', keys, digest)
if found and found ~= expected then return { 'other', found } end
if not found and expected ~= '' then return { 'gone' } end
redis.call('HSET', keys, digest, new)
return { 'changed' }
