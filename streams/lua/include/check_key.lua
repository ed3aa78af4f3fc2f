-- Return why a key cannot be used, as the server would say it, or nil: it is of another type, or
-- this user may not send it one of the commands. Asked for every key before the first write, so
-- that a script writes everything or nothing. A key that is not there has every type.
local function check_key(key, kind, ...)
  local found = redis.pcall('TYPE', key)
  if found.err then return found.err end
  if found.ok ~= 'none' and found.ok ~= kind then
    return 'WRONGTYPE ' .. key .. ' is a ' .. found.ok .. ', not a ' .. kind
  end
  for _, name in ipairs({ ... }) do
    local command, part = string.match(name, '^(%S+) (%S+)$')
    local words = command and { command, part, key } or { name, key }
    if redis.acl_check_cmd and not redis.acl_check_cmd(unpack(words)) then
      return 'NOPERM this user may not send ' .. name .. ' for ' .. key
    end
  end
end

-- Return a whole number that a field or an argument holds, nil for anything else.
local function whole(text)
  return text and #text <= 16 and tonumber(string.match(text, '^%-?%d+$')) or nil
end
