-- Say whether this user may send a command. Redis 8.10 counts the words of a command that it is asked
-- about: there the key stands for each one that is missing.
local function may_send(key, ...)
  local is_answered, is_allowed = pcall(redis.acl_check_cmd, ...)
  local words = is_answered or { ... }
  for _ = 1, 8 do
    if is_answered then return is_allowed end
    words[#words + 1] = key or ''
    is_answered, is_allowed = pcall(redis.acl_check_cmd, unpack(words))
  end
  error(is_allowed)
end

-- Say whether a word and a key suffice to ask: up to Redis 8.2, which all of Valkey says that it is.
local function is_brief()
  return (redis.REDIS_VERSION_NUM or math.huge) < 0x080300
end

-- Say whether this user may send a command to a key; without a key, one that names none.
local function may_use(name, key)
  if name == 'XREADGROUP' then return may_send(key, name, 'GROUP', '', '', 'STREAMS', key, '>') end
  local command, part = string.match(name, '^(.*)|(.*)$')
  if command then return may_send(key, command, part, key) end
  if key then return may_send(key, name, key) end
  return may_send(nil, name)
end
