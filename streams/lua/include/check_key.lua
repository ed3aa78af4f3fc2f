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

-- Return why this user may not send commands to a key, or nil. `names` are the commands, with a
-- space between them, as `HSET XGROUP|CREATE`; those that name no key are asked without one.
local function refused(names, key)
  for name in string.gmatch(redis.acl_check_cmd and names or '', '%S+') do
    local is_allowed
    if name == 'XREADGROUP' then
      is_allowed = may_send(key, name, 'GROUP', '', '', 'STREAMS', key, '>')
    elseif string.find(name, '|', 1, true) then
      local command, part = string.match(name, '^(.*)|(.*)$')
      is_allowed = may_send(key, command, part, key)
    elseif key then is_allowed = may_send(key, name, key)
    else is_allowed = may_send(nil, name) end
    if not is_allowed then
      return 'NOPERM this user may not send ' .. string.gsub(name, '|', ' ') .. (key and ' for ' .. key or '')
    end
  end
end

-- Return why a key cannot be used, as the server would say it, or nil: it is of another type, or
-- this user may not send it one of the commands. Asked for every key, and with every command, before
-- the first write, so that a script writes everything or nothing. A key that is not there has every
-- type.
local function check_key(key, kind, names)
  local why = refused('TYPE ' .. (names or ''), key)
  if why then return why end
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    return 'WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind
  end
end

-- Return a whole number that a field or an argument holds, nil for anything else.
local function whole(text)
  return text and #text <= 16 and tonumber(string.match(text, '^%-?%d+$')) or nil
end

-- Say whether a field or an argument is the id of an entry, as commands accept it.
local function is_entry_id(text)
  local ms, counter = string.match(text or '', '^(%d+)-(%d+)$')
  return whole(ms) and (#counter < 20 or #counter == 20 and counter <= '18446744073709551615')
end
