--- @include "may_use"

-- Return why this user may not send commands to a key, or nil. `names` are the commands, with a
-- space between them, as `HSET XGROUP|CREATE`; those that name no key are asked without one. Asking
-- is much of what a script costs, so that nothing more is done here than must be.
local function refused(names, key)
  local ask, find, from, needs_more = redis.acl_check_cmd, string.find, 1, not (key and is_brief())
  while ask and from <= #names do
    local upto = find(names, ' ', from, true) or #names + 1
    local name = string.sub(names, from, upto - 1)
    local is_long, is_allowed = needs_more or name == 'XREADGROUP' or find(name, '|', 1, true), nil
    if is_long then is_allowed = may_use(name, key) else is_allowed = ask(name, key) end
    if not is_allowed then
      return 'NOPERM this user may not send ' .. string.gsub(name, '|', ' ') .. (key and ' for ' .. key or '')
    end
    from = upto + 1
  end
end

-- Return why a key cannot be used, as the server would say it, or nil: it is of another type, or
-- this user may not send it one of the commands. Asked for every key, and with every command, before
-- the first write, so that a script writes everything or nothing; a read that a script does anyway
-- tells as much of its key. A key that is not there has every type. One that had the right one has it
-- until the script ends: only that changes it meanwhile.
local kinds = {}
local function check_key(key, kind, names)
  if kinds[key] ~= kind then
    local reply = redis.pcall('TYPE', key)
    local found = reply.ok
    if not found then return refused('TYPE', key) or reply.err end
    if found ~= 'none' and found ~= kind then
      return 'WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind
    end
    kinds[key] = kind
  end
  return names and refused(names, key)
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
