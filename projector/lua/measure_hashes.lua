#!lua flags=no-writes
--[[
  Say how large some fields of states are, without reading them.

  KEYS[1]    projector  HASH: moving (whether rebuilt states are still to be moved)
  KEYS[2..]  HASHes of the same partition

  ARGV[1..]  fields

  Returns  {"measured", moving, bytes, ...}  1 = they are; one number for each hash: of these fields
                                             together; -1 for a key of another type
]]
--- @include "check_key"
local why = refused('HGET', KEYS[1]) or refused('HSTRLEN', KEYS[2])
if why then return redis.error_reply(why) end
local outcome = { 'measured', redis.call('HGET', KEYS[1], 'moving') and 1 or 0 }
for i = 2, #KEYS do
  local size = 0
  for j = 1, #ARGV do
    local bytes = redis.pcall('HSTRLEN', KEYS[i], ARGV[j])
    size = (type(bytes) == 'table' or size < 0) and -1 or size + bytes
  end
  outcome[i + 1] = size
end
return outcome
