#!lua flags=no-writes
--[[
  Say how large some fields of hashes are, without reading them.

  KEYS[1..]  HASHes of one partition

  ARGV[1..]  fields

  Returns  {"measured", bytes, ...}   one number for each hash: of these fields together
]]
--- @include "check_key"
local why = refused('HSTRLEN', KEYS[1])
if why then return redis.error_reply(why) end
local outcome = { 'measured' }
for i = 1, #KEYS do
  local size = 0
  for j = 1, #ARGV do size = size + redis.call('HSTRLEN', KEYS[i], ARGV[j]) end
  outcome[i + 1] = size
end
return outcome
